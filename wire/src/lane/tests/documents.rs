//! The page that callers read has a row for each class of failure, with what each dialect makes of it.

use crate::canonical::{Dialect, Failure, FailureClass};
use crate::lane;

const PAGE: &str = include_str!("../../../../docs/gateway.md");

/// How the row of `class` begins.
fn row(class: FailureClass) -> &'static str {
    match class {
        FailureClass::BadRequest => "the request makes no sense",
        FailureClass::ContextTooLong => "the prompt is longer than the context",
        FailureClass::TooLarge => "the body is too large",
        FailureClass::Credential => "no key, or a wrong one",
        FailureClass::Forbidden => "not allowed",
        FailureClass::NotFound => "no such model",
        FailureClass::QuotaExhausted => "the account's money or quota is used up",
        FailureClass::RateLimited => "too many requests",
        FailureClass::Overloaded => "nothing can answer now",
        FailureClass::Timeout => "the upstream took too long",
        FailureClass::TruncatedStream => "the upstream's stream broke off",
        FailureClass::ContentBlocked => "the provider blocks what is asked",
        FailureClass::ResidencyUnsatisfiable => "an answer is not from where",
        FailureClass::Upstream => "the upstream failed",
        FailureClass::Internal => "the gateway failed",
    }
}

#[test]
fn the_table_of_errors_is_what_is_written() {
    let (_, section) = PAGE.split_once("\n## Errors\n").expect("the section");
    for class in FailureClass::ALL {
        let begins = format!("| {}", row(class));
        let row = section.lines().find(|line| line.starts_with(&begins));
        let row = row.unwrap_or_else(|| panic!("no row for {class:?}"));
        let cells: Vec<&str> = row.trim_matches('|').split('|').skip(1).map(str::trim).collect();
        let dialects = [Dialect::OpenAiChat, Dialect::Anthropic, Dialect::Gemini, Dialect::Converse];
        assert_eq!(cells.len(), dialects.len(), "{row}");
        for (dialect, cell) in dialects.into_iter().zip(cells) {
            let written = lane::error(dialect, &Failure::new(class, "m"));
            let body = String::from_utf8(written.body).expect("text");
            assert!(
                cell.starts_with(&written.status.to_string()),
                "{class:?} of {dialect}: {cell}, {}",
                written.status
            );
            for word in cell.split('`').skip(1).step_by(2) {
                assert!(body.contains(word), "{class:?} of {dialect}: {cell}, {body}");
            }
        }
    }
}
