//! What a gateway reads of a request in this dialect, and the two values it may change.

use std::ops::Range;

use super::super::ApiError;
use super::super::translate::error::api_error;
use crate::lane::{self, Door, Inbound, Operation};

/// A chat completion or completions request, read only as far as a gateway needs.
#[derive(Debug)]
pub struct RequestView<'a>(Inbound<'a>);

impl<'a> RequestView<'a> {
    /// Reads `body`.
    ///
    /// # Errors
    /// A 400 in OpenAI's shape: not UTF-8, not JSON, not an object, nested too deep, `model` missing or not a
    /// string, `stream` not a boolean, `stream_options` not an object; or one of these given twice, since
    /// gateway and upstream could then read different ones.
    pub fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        let door = Door { operation: Operation::ChatCompletions, model_in_path: None };
        lane::read(&door, body).map(Self).map_err(|failure| api_error(&failure))
    }

    /// The name of the model asked for.
    pub fn model(&self) -> &str {
        self.0.model()
    }

    /// Whether the answer is to be a stream.
    pub fn stream(&self) -> bool {
        self.0.stream()
    }

    /// Whether the caller asked for the usage at the end of the stream.
    pub fn include_usage(&self) -> bool {
        self.0.include_usage()
    }

    /// What changes to rename the model and, for a stream, to set `stream_options.include_usage` to true:
    /// spans of the body with their new text, in order and apart. Every byte outside of them stays.
    pub fn edits(&self, model: &str) -> Vec<(Range<usize>, String)> {
        self.0.raw_edits(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_openais_shape() {
        let refused = |body: &str| RequestView::parse(body.as_bytes()).expect_err("must be refused");
        let error = refused(r#"{"model":7}"#);
        assert_eq!((error.status, error.body.error.param.as_deref()), (400, Some("model")));
        assert_eq!(error.body.error.kind, "invalid_request_error");
        assert_eq!(refused("{").body.error.code.as_deref(), Some("invalid_json"));
    }

    #[test]
    fn a_view_says_what_a_gateway_needs() {
        let body = br#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
        let view = RequestView::parse(body).expect("reads");
        assert!(view.model() == "m" && view.stream() && view.include_usage());
        assert_eq!(view.edits("n"), [(9..12, r#""n""#.to_owned())]);
    }
}
