//! A provider's words inside ours: always said to be the provider's, short, and on one line.

use std::borrow::Cow;

use weighbridge_wire::canonical::{Failure, FailureClass};

use crate::directory::{Target, World};

/// Characters of a provider's message that are passed on.
const MAX_CHARACTERS: usize = 500;

/// `text` with control characters as spaces, cut to a readable length.
pub(crate) fn tidy(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARACTERS).collect()
}

/// Characters of a name that a caller chose which are repeated to it: more than any name of ours has.
const NAME_CHARACTERS: usize = 256;

/// `given`, a name or a path that a caller chose, cut to a readable length.
pub(crate) fn name(given: &str) -> Cow<'_, str> {
    match given.char_indices().nth(NAME_CHARACTERS) {
        Some((end, _)) => Cow::Owned(format!("{}…", &given[..end])),
        None => Cow::Borrowed(given),
    }
}

/// What the upstream of `target` said in place of an answer, labelled as a provider's where it is one. A failure without an
/// origin is our own judgement. What is between us
/// and the provider (its keys, its models' names) is no fault of the caller's.
pub(crate) fn said(target: &Target, failure: Failure) -> Failure {
    if target.world == World::Open || failure.origin.is_none() {
        return failure;
    }
    let provider = target.provider.as_deref().unwrap_or_default();
    let status = failure.status.map(|status| format!(" {status}")).unwrap_or_default();
    let message = format!("Provider `{provider}` answered{status}: {}", tidy(&failure.message));
    let code = match failure.class {
        FailureClass::Credential | FailureClass::Forbidden => Some("provider_credentials".to_owned()),
        FailureClass::NotFound => Some("provider_not_found".to_owned()),
        FailureClass::Overloaded => Some("provider_overloaded".to_owned()),
        FailureClass::Upstream => Some("provider_error".to_owned()),
        _ => failure.code.as_deref().map(tidy),
    };
    let class = not_the_callers(failure.class);
    Failure { class, message, code, param: failure.param.as_deref().map(tidy), ..failure }
}

/// What an upstream put into its stream in place of the rest.
pub(crate) fn in_stream(target: &Target, failure: Failure) -> Failure {
    if target.world == World::Open || failure.origin.is_none() {
        return failure;
    }
    let message =
        format!("The upstream of `{}` broke off, saying: {}", target.canonical, tidy(&failure.message));
    Failure { message, ..said(target, failure) }
}

/// A provider's class as the caller's: what is between us and the provider (its keys, its models' names) is no fault of
/// the caller's.
pub(crate) fn not_the_callers(class: FailureClass) -> FailureClass {
    match class {
        FailureClass::Credential | FailureClass::Forbidden | FailureClass::NotFound => FailureClass::Upstream,
        class => class,
    }
}
