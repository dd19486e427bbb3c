//! GenAI's client metrics: the gateway is the client of every model. Boundaries are the conventions' own.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};
use weighbridge_wire::canonical::Usage;

use super::semantic::{ERROR_TYPE, TOKEN_TYPE};

/// The instruments.
#[derive(Debug)]
pub(super) struct Instruments {
    token_usage: Histogram<u64>,
    operation_duration: Histogram<f64>,
    time_to_first_chunk: Histogram<f64>,
    time_per_output_chunk: Histogram<f64>,
}

const SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str, what: &'static str| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(what)
                .with_boundaries(SECONDS.to_vec())
                .build()
        };
        Self {
            token_usage: meter
                .u64_histogram("gen_ai.client.token.usage")
                .with_unit("{token}")
                .with_description("Tokens that one operation used, by type")
                .with_boundaries((0..14).map(|power| f64::from(4_u32.pow(power))).collect())
                .build(),
            operation_duration: seconds("gen_ai.client.operation.duration", "How long one operation took"),
            time_to_first_chunk: seconds(
                "gen_ai.client.operation.time_to_first_chunk",
                "From the request to the first piece of a streamed answer",
            ),
            time_per_output_chunk: seconds(
                "gen_ai.client.operation.time_per_output_chunk",
                "Between two pieces of a streamed answer",
            ),
        }
    }

    /// One operation, of the model that `model` names: what it used, and what kind of error it ended with, if with one.
    pub(super) fn operation(
        &self,
        model: &[KeyValue],
        took: Duration,
        usage: Option<Usage>,
        error: Option<String>,
    ) {
        let error = error.map(|kind| KeyValue::new(ERROR_TYPE, kind));
        self.operation_duration.record(took.as_secs_f64(), &with(model, error));
        if let Some(usage) = usage {
            self.tokens(model, usage);
        }
    }

    /// What one attempt used.
    pub(super) fn tokens(&self, model: &[KeyValue], usage: Usage) {
        for (direction, count) in [("input", usage.input()), ("output", usage.output())] {
            self.token_usage.record(count, &with(model, Some(KeyValue::new(TOKEN_TYPE, direction))));
        }
    }

    pub(super) fn first_piece(&self, model: &[KeyValue], after: Duration) {
        self.time_to_first_chunk.record(after.as_secs_f64(), model);
    }

    pub(super) fn gap(&self, model: &[KeyValue], seconds: f64) {
        self.time_per_output_chunk.record(seconds, model);
    }
}

fn with(model: &[KeyValue], more: Option<KeyValue>) -> Vec<KeyValue> {
    model.iter().cloned().chain(more).collect()
}
