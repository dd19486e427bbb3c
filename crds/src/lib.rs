//! API types of `serving.weighbridge.dev`.
