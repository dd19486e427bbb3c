//! A provider's words inside ours: always said to be the provider's, short, and on one line.

use weighbridge_wire::openai::{ApiError, ErrorBody};

/// Characters of a provider's message that are passed on.
const MAX_CHARACTERS: usize = 500;

/// `text` with control characters as spaces, cut to a readable length.
pub(crate) fn tidy(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARACTERS).collect()
}

/// The error that a provider put into a stream, in our shape: a 502 whose text names who said it.
pub(crate) fn provider_error(model: &str, data: &[u8]) -> ApiError {
    match serde_json::from_slice::<ErrorBody>(data) {
        Ok(body) => ApiError::upstream(
            "upstream_error",
            &format!("The upstream of `{model}` broke off, saying: {}", tidy(&body.error.message)),
        ),
        Err(_) => ApiError::upstream("upstream_error", &format!("The upstream of `{model}` broke off.")),
    }
}
