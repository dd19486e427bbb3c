//! One key.

use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderName, Request};
use secrecy::{ExposeSecret, SecretString};
use weighbridge_wire::provider::KeyHeader;

use super::super::connector::ProviderConnector;
use super::access_key::AccessKey;
use super::file::{KeyError, MAX_BYTES};
use super::service_account::{ServiceAccount, Token, TokenError};
use super::usage::Usage;
use crate::forward::{Pieces, Upstream};

/// A key. `Debug` shows nothing of it. Clones share what was got for it, such as an access token.
#[derive(Clone, Debug)]
pub(in super::super) struct Key {
    /// What the file holds.
    text: SecretString,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Header(KeyHeader),
    ServiceAccount(Arc<ServiceAccount>),
    AccessKey(Arc<AccessKey>),
}

/// What a request showed.
#[derive(Clone, Debug)]
pub(in super::super) enum Shown {
    /// The key itself, or its signature.
    Key,
    /// A token that was got for it before.
    HeldToken(Arc<Token>),
    /// A token that was got for it just now.
    NewToken,
}

/// Why a request can't show a key.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum ShowError {
    #[error("the key is no header value")]
    Header,
    #[error("the request can't be signed")]
    Signature(#[source] aws_sigv4::http_request::SigningError),
    #[error("the request can't be signed: {0}")]
    Unsignable(&'static str),
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl Key {
    pub(super) fn new(text: &str, usage: &Usage) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() as u64 >= MAX_BYTES {
            return Err(KeyError::Malformed);
        }
        let form = match usage {
            Usage::Header(header) => Form::Header(*header),
            Usage::ServiceAccount { allow_private } => {
                Form::ServiceAccount(Arc::new(ServiceAccount::read(text, *allow_private)?))
            }
            Usage::Aws { service, region } if text.starts_with('{') => {
                Form::AccessKey(Arc::new(AccessKey::read(text, service, region)?))
            }
            // An API key, which needs no signature.
            Usage::Aws { .. } => Form::Header(KeyHeader::BEARER),
        };
        if matches!(form, Form::Header(_)) && !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::Malformed);
        }
        Ok(Self { text: SecretString::from(text), form })
    }

    /// Makes `request`, whose body is `body`, show the key.
    pub(in super::super) async fn show(
        &self,
        request: &mut Request<Pieces>,
        body: &Bytes,
        upstream: &Upstream<ProviderConnector>,
    ) -> Result<Shown, ShowError> {
        match &self.form {
            Form::Header(how) => {
                show_text(request, *how, self.text())?;
                Ok(Shown::Key)
            }
            Form::AccessKey(key) => {
                key.sign(request, body, std::time::SystemTime::now())?;
                Ok(Shown::Key)
            }
            Form::ServiceAccount(account) => {
                let (token, shown) = account.token(upstream).await?;
                show_text(request, KeyHeader::BEARER, token.text())?;
                Ok(shown)
            }
        }
    }

    /// The provider did not take what was `shown`. Says whether another may be got: a token can end before its time, with the
    /// key as good as ever.
    pub(in super::super) fn forget(&self, shown: &Shown) -> bool {
        match (&self.form, shown) {
            (Form::ServiceAccount(account), Shown::HeldToken(token)) => {
                account.forget(token);
                true
            }
            (Form::ServiceAccount(_) | Form::Header(_) | Form::AccessKey(_), _) => false,
        }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.text() == other.text()
    }

    /// Everything that nobody may read who reads an answer: whatever of the key was sent.
    pub(super) fn secrets(&self) -> Vec<SecretString> {
        match &self.form {
            Form::Header(_) => vec![self.text.clone()],
            Form::AccessKey(key) => key.secrets(),
            Form::ServiceAccount(account) => account.secrets(),
        }
    }

    pub(super) fn text(&self) -> &str {
        self.text.expose_secret()
    }
}

/// `text` as `how` says, marked so that HTTP/2 keeps it out of its tables and `Debug` hides it.
pub(super) fn show_text<B>(request: &mut Request<B>, how: KeyHeader, text: &str) -> Result<(), ShowError> {
    let value = format!("{}{text}", how.prefix);
    let mut value = HeaderValue::from_str(&value).map_err(|_| ShowError::Header)?;
    value.set_sensitive(true);
    request.headers_mut().insert(HeaderName::from_static(how.name), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use weighbridge_wire::provider::{Credential, Kind};

    use super::*;

    #[test]
    fn what_no_header_takes_is_no_key() {
        for text in ["a b", "a\nb", "ключ", "a\0"] {
            let error = Key::new(text, &Usage::Header(KeyHeader::BEARER)).expect_err(text);
            assert_eq!(error, KeyError::Malformed);
        }
    }

    #[test]
    fn a_key_goes_as_its_kind_has_it_and_is_never_printed() {
        for kind in Kind::ALL {
            let Credential::Header(header) = kind.profile().credential else { continue };
            let key = Key::new("sk-canary-5f1d", &Usage::Header(header)).expect("a key");
            let mut request = Request::new(());
            show_text(&mut request, header, key.text()).expect("a header");
            let expected = match kind {
                Kind::OpenAi | Kind::OpenAiCompatible => ("authorization", "Bearer sk-canary-5f1d"),
                Kind::AzureOpenAi => ("api-key", "sk-canary-5f1d"),
                Kind::Anthropic | Kind::AnthropicCompatible => ("x-api-key", "sk-canary-5f1d"),
                Kind::Gemini => ("x-goog-api-key", "sk-canary-5f1d"),
                Kind::Vertex | Kind::Bedrock => unreachable!("their keys are no texts in a header"),
            };
            let (name, value) = request.headers().iter().next().expect("a header");
            assert_eq!((name.as_str(), value.to_str().expect("text")), expected);
            let printed = format!("{key:?} {request:?} {:?}", key.clone());
            assert!(!printed.contains("canary"), "{printed}");
        }
    }
}
