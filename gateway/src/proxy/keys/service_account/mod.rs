//! A Google service account: its key file, and the access tokens that Google gives for it.
//!
//! `assertion` signs who we are, `exchange` gets a token for it, `tokens` keeps the token while it lasts. Everything is sent by the
//! proxy's own connector, which checks addresses; a library would bring a client of its own.

mod assertion;
mod exchange;
mod tokens;

use std::fmt;
use std::sync::Arc;

use http::{StatusCode, Uri};
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use self::assertion::Assertion;
pub(in super::super) use self::tokens::Token;
use self::tokens::{Got, Tokens};
use super::super::connector::ProviderConnector;
use super::file::KeyError;
use super::key::Shown;
use crate::forward::Upstream;

/// Where Google exchanges what a service account signs.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum TokenError {
    /// The token's host does not take the key.
    #[error("the token's host refused the key with status {status}: {said}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its words.
        said: String,
    },
    /// It gave none for another reason.
    #[error("the token's host {0}")]
    Failed(String),
}

/// The account. `Debug` shows its address, which is no secret.
pub(super) struct ServiceAccount {
    assertion: Assertion,
    token_uri: Uri,
    tokens: Tokens,
}

#[derive(Deserialize)]
struct Written {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    private_key: SecretString,
    #[serde(default)]
    private_key_id: Option<String>,
    #[serde(default)]
    token_uri: Option<String>,
}

impl ServiceAccount {
    pub(super) fn read(text: &str, allow_private: bool) -> Result<Self, KeyError> {
        let Written { kind, client_email, private_key, private_key_id, token_uri } =
            serde_json::from_str(text).map_err(|_| KeyError::NoServiceAccount)?;
        if kind != "service_account" || client_email.is_empty() {
            return Err(KeyError::NoServiceAccount);
        }
        let audience = token_uri.unwrap_or_else(|| TOKEN_URI.to_owned());
        let token_uri = checked(&audience, allow_private).ok_or(KeyError::TokenHost)?;
        let assertion = Assertion::new(client_email, &private_key, private_key_id, audience)
            .ok_or(KeyError::PrivateKey)?;
        Ok(Self { assertion, token_uri, tokens: Tokens::default() })
    }

    /// A token to show.
    pub(super) async fn token(
        &self,
        upstream: &Upstream<ProviderConnector>,
    ) -> Result<(Arc<Token>, Shown), TokenError> {
        let fetch = || exchange::fetch(&self.assertion, &self.token_uri, upstream);
        Ok(match self.tokens.current(fetch).await? {
            Got::Held(token) => (Arc::clone(&token), Shown::HeldToken(token)),
            Got::New(token) => (token, Shown::NewToken),
        })
    }

    /// The provider did not take `token`.
    pub(super) fn forget(&self, token: &Arc<Token>) {
        self.tokens.forget(token);
    }

    pub(super) fn secrets(&self) -> Vec<SecretString> {
        self.tokens.secrets()
    }
}

/// Where the assertion may be sent: to Google, who alone can use it. A key file from elsewhere leads nowhere else.
fn checked(token_uri: &str, allow_private: bool) -> Option<Uri> {
    let url = Url::parse(token_uri).ok()?;
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let host = url.host_str()?;
    let googles = host == "accounts.google.com" || host.ends_with(".googleapis.com");
    let public = url.scheme() == "https" && googles && url.port().is_none();
    let private = allow_private && matches!(url.scheme(), "https" | "http");
    (plain && (public || private)).then(|| url.as_str().parse().ok())?
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount").field("email", &self.assertion.email()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_from_google_or_from_a_server_of_ones_own() {
        let google = ["https://oauth2.googleapis.com/token", "https://accounts.google.com/o/oauth2/token"];
        for uri in google {
            assert!(checked(uri, false).is_some(), "{uri}");
        }
        for uri in [
            "http://oauth2.googleapis.com/token",
            "https://oauth2.googleapis.com:8443/token",
            "https://oauth2.googleapis.com.example.com/token",
            "https://example.com/token",
            "https://googleapis.com.evil/",
            "https://127.0.0.1/token",
        ] {
            assert!(checked(uri, false).is_none(), "{uri}");
            assert!(checked(uri, true).is_some(), "{uri}");
        }
        for uri in
            ["https://u:p@oauth2.googleapis.com/token", "ftp://oauth2.googleapis.com/token", "", "/token"]
        {
            assert!(checked(uri, false).is_none() && checked(uri, true).is_none(), "{uri}");
        }
    }

    #[test]
    fn what_is_no_service_accounts_key_is_refused_by_name() {
        let refused = |text: &str| ServiceAccount::read(text, false).expect_err(text);
        for text in [
            "AIzaSyCanary",
            "{}",
            r#"{"type":"authorized_user","client_email":"a@b","private_key":"x"}"#,
            r#"{"type":"service_account","client_email":"","private_key":"x"}"#,
            r#"{"type":"service_account","client_email":"a@b"}"#,
        ] {
            assert_eq!(refused(text), KeyError::NoServiceAccount, "{text}");
        }
        let elsewhere =
            r#"{"type":"service_account","client_email":"a@b","private_key":"x","token_uri":"https://a.b/"}"#;
        assert_eq!(refused(elsewhere), KeyError::TokenHost);
        let no_key = r#"{"type":"service_account","client_email":"a@b","private_key":"-----BEGIN"}"#;
        assert_eq!(refused(no_key), KeyError::PrivateKey);
    }
}
