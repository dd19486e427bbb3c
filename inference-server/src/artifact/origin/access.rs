//! What a source's own server is shown, and nobody that it points at.

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};

use super::super::FetchError;
use super::super::request::{InvalidToken, Token};

/// What gives access.
#[derive(Clone)]
pub(in super::super) enum Access {
    /// Nothing: what anybody may read.
    Nothing,
    /// A token, in the clear but for TLS.
    Bearer(HeaderValue),
}

impl Access {
    pub(super) fn of_token(token: Option<&Token>) -> Result<Self, FetchError> {
        let Some(token) = token else { return Ok(Access::Nothing) };
        let mut value =
            HeaderValue::from_str(&token.bearer()).map_err(|_| FetchError::Token(InvalidToken))?;
        value.set_sensitive(true);
        Ok(Access::Bearer(value))
    }

    pub(in super::super) fn is_something(&self) -> bool {
        match self {
            Access::Nothing => false,
            Access::Bearer(_) => true,
        }
    }

    /// Whether whoever sees a request could ask for more with what it shows.
    pub(in super::super) fn is_secret(&self) -> bool {
        match self {
            Access::Nothing => false,
            Access::Bearer(_) => true,
        }
    }

    /// Puts it on a request.
    pub(in super::super) fn show<B>(&self, request: &mut Request<B>) {
        match self {
            Access::Nothing => {}
            Access::Bearer(value) => {
                request.headers_mut().insert(AUTHORIZATION, value.clone());
            }
        }
    }
}
