//! Provider dialects: messages, server-sent events and translation. No client, no runtime, no clock.
