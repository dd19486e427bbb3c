//! The event stream, written for a client.

use super::builder::{Builder, Echo};
use crate::canonical::{Envelope, Event, Inexpressible, Sequencer, Unsupported, WriteStream};
use crate::sse;

/// Writes the stream that a Responses client reads. One item is under way at a time.
#[derive(Debug)]
pub struct StreamWriter {
    sequencer: Sequencer,
    builder: Builder,
}

impl StreamWriter {
    /// A writer; `echo` is what the answer repeats of its request.
    pub fn new(envelope: Envelope, echo: Echo, policy: Unsupported) -> Self {
        Self { sequencer: Sequencer::new(), builder: Builder::new(envelope, echo, policy) }
    }
}

impl WriteStream for StreamWriter {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), Inexpressible> {
        if *event == Event::Ping {
            sse::comment("ping", out);
            return Ok(());
        }
        let mut ready = Vec::new();
        self.sequencer.push(event.clone(), &mut ready);
        for event in &ready {
            self.builder.take(event)?;
        }
        for (kind, data) in self.builder.outbox.events.drain(..) {
            sse::named_event(kind, &data.to_string(), out);
        }
        Ok(())
    }

    fn dropped(&self) -> &[String] {
        self.builder.losses.dropped()
    }
}
