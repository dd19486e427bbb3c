//! What a source's own server is shown, and nobody that it points at.

use std::time::SystemTime;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};

use super::super::FetchError;
use super::super::request::{InvalidToken, Token};
use super::gcs::Assertions;
use super::registry::RegistryLogin;
use super::s3::Signer;

/// What gives access.
#[derive(Clone)]
pub(in super::super) enum Access {
    /// Nothing: what anybody may read.
    Nothing,
    /// A token, in the clear but for TLS.
    Bearer(HeaderValue),
    /// A signature of each request.
    Signature(Signer),
    /// A token that we sign.
    Assertion(Assertions),
    /// A token that a registry hands out, to anybody or for a password.
    Registry(RegistryLogin),
}

impl Access {
    pub(super) fn of_token(token: Option<&Token>) -> Result<Self, FetchError> {
        let Some(token) = token else { return Ok(Access::Nothing) };
        let mut value =
            HeaderValue::from_str(&token.bearer()).map_err(|_| FetchError::Token(InvalidToken))?;
        value.set_sensitive(true);
        Ok(Access::Bearer(value))
    }

    /// Whether the server is told who asks.
    pub(in super::super) fn is_something(&self) -> bool {
        match self {
            Access::Nothing => false,
            Access::Bearer(_) | Access::Signature(_) | Access::Assertion(_) => true,
            Access::Registry(login) => login.is_named(),
        }
    }

    /// Whether whoever sees a request could ask for more with what it shows.
    pub(in super::super) fn is_secret(&self) -> bool {
        match self {
            Access::Nothing | Access::Signature(_) => false,
            Access::Bearer(_) | Access::Assertion(_) => true,
            Access::Registry(login) => login.is_named(),
        }
    }

    /// Puts it on a request that is sent at `now`.
    pub(in super::super) fn show<B>(
        &self,
        request: &mut Request<B>,
        now: SystemTime,
    ) -> Result<(), FetchError> {
        let bearer = match self {
            Access::Nothing => None,
            Access::Bearer(value) => Some(value.clone()),
            Access::Assertion(assertions) => Some(assertions.at(now).ok_or(FetchError::Unsignable)?),
            Access::Signature(signer) => return signer.sign(request, now).ok_or(FetchError::Unsignable),
            Access::Registry(login) => login.current(),
        };
        if let Some(value) = bearer {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(())
    }

    /// The region that requests are signed for.
    pub(in super::super) fn region(&self) -> Option<&str> {
        match self {
            Access::Signature(signer) => Some(signer.region()),
            Access::Nothing | Access::Bearer(_) | Access::Assertion(_) | Access::Registry(_) => None,
        }
    }
}
