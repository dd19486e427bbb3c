//! What becomes of what a dialect cannot say: refused by name, or dropped where the caller said so.

use std::borrow::Cow;

use super::hint::{is_hint, is_record};
use super::{Dialect, Extra, Failure, FailureClass, ForeignField, ForeignPart};

/// What the caller wants done with what the other dialect cannot say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unsupported {
    /// Refuse, and name the field.
    #[default]
    Refuse,
    /// Leave it out, and report it.
    Drop,
}

/// Something that a dialect cannot say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` can't be expressed in {dialect}: {fix}")]
pub struct Inexpressible {
    /// The field, as its sender knows it.
    pub field: String,
    /// The dialect that lacks it.
    pub dialect: Dialect,
    /// What to do instead.
    pub fix: Cow<'static, str>,
    /// Whose fault it is.
    pub fault: Fault,
}

/// Whose fault it is that something can't be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller asked for it.
    Caller,
    /// The upstream answered what no client can use.
    Upstream,
}

impl Inexpressible {
    /// The failure to answer with.
    pub fn to_failure(&self) -> Failure {
        if self.fault == Fault::Upstream {
            let message = format!("the upstream's answer can't be used: {self}");
            return Failure::new(FailureClass::Upstream, message);
        }
        let mut failure = Failure::new(FailureClass::BadRequest, self.to_string());
        failure.param = Some(self.field.clone());
        failure.code = Some("unsupported_parameter".to_owned());
        failure
    }
}

/// Carries the caller's wish through one translation and collects what was dropped.
#[derive(Clone, Debug)]
pub struct Losses {
    policy: Unsupported,
    origin: Dialect,
    target: Dialect,
    /// Whose fault it is that something can't be said: a request is its caller's, an answer its upstream's.
    fault: Fault,
    dropped: Vec<String>,
}

impl Losses {
    /// For the translation of a request from `origin` into `target`.
    pub fn new(policy: Unsupported, origin: Dialect, target: Dialect) -> Self {
        Self { policy, origin, target, fault: Fault::Caller, dropped: Vec::new() }
    }

    /// For the translation of an answer. What was asked for could be said in `target`, so what can't be is the
    /// upstream's own idea, and no fault of the caller's.
    pub fn of_answer(policy: Unsupported, origin: Dialect, target: Dialect) -> Self {
        Self { fault: Fault::Upstream, ..Self::new(policy, origin, target) }
    }

    /// The dialect that is translated from: its names are the caller's.
    pub fn origin(&self) -> Dialect {
        self.origin
    }

    /// The dialect that is translated into.
    pub fn target(&self) -> Dialect {
        self.target
    }

    /// `field` has to go.
    ///
    /// # Errors
    /// Unless the caller said to drop.
    pub fn lose(
        &mut self,
        field: impl Into<String>,
        fix: impl Into<Cow<'static, str>>,
    ) -> Result<(), Inexpressible> {
        match self.policy {
            Unsupported::Refuse => Err(self.refuse(field, fix)),
            Unsupported::Drop => {
                self.dropped.push(field.into());
                Ok(())
            }
        }
    }

    /// `field` is only a hint, which changes cost or speed and no answer: it goes without being refused, and is
    /// reported like the others.
    pub fn waive(&mut self, field: impl Into<String>) {
        self.dropped.push(field.into());
    }

    /// The error for what can't go either: without it there is no request to send.
    pub fn refuse(&self, field: impl Into<String>, fix: impl Into<Cow<'static, str>>) -> Inexpressible {
        Inexpressible { field: field.into(), dialect: self.target, fix: fix.into(), fault: self.fault }
    }

    /// The error for a part of an answer that no client can use, such as a call with broken arguments. The caller can
    /// do nothing about it.
    pub fn unusable(&self, field: impl Into<String>, why: impl Into<Cow<'static, str>>) -> Inexpressible {
        Inexpressible { fault: Fault::Upstream, ..self.refuse(field, why) }
    }

    /// `field` of a request has no place in the target: waived where it is only a hint, and lost otherwise.
    ///
    /// # Errors
    /// As [`Losses::lose`].
    pub fn lose_foreign(&mut self, field: &ForeignField) -> Result<(), Inexpressible> {
        if is_hint(self.origin, field) {
            self.waive(field.path());
            return Ok(());
        }
        self.lose(field.path(), "leave it out, or ask for what can't be translated to be dropped")
    }

    /// A part of an answer that only its own dialect has. The record of what a hosted tool did is waived: the text
    /// after it says what came of it. What a client would have to act on is lost.
    ///
    /// # Errors
    /// As [`Losses::lose`].
    pub fn lose_foreign_part(
        &mut self,
        path: impl Into<String>,
        part: &ForeignPart,
        fix: impl Into<Cow<'static, str>>,
    ) -> Result<(), Inexpressible> {
        if self.fault == Fault::Upstream && is_record(part) {
            self.waive(path);
            return Ok(());
        }
        self.lose(path, fix)
    }

    /// The foreign fields that go into the target as they came: the top-level ones that `takes` accepts, given the
    /// dialect they are from and their name. The others are lost, hints without being refused.
    ///
    /// # Errors
    /// As [`Losses::lose`].
    pub fn foreign(
        &mut self,
        fields: &[ForeignField],
        takes: impl Fn(Dialect, &str) -> bool,
    ) -> Result<Extra, Inexpressible> {
        let mut passed = Extra::new();
        for field in fields {
            if field.parent.is_empty() && takes(self.origin, &field.name) {
                passed.insert(field.name.clone(), field.value.clone());
            } else {
                self.lose_foreign(field)?;
            }
        }
        Ok(passed)
    }

    /// As [`Losses::foreign`], for the fields of an answer: they are a server's remarks and not the caller's wish,
    /// and nobody wants a paid answer withheld for one. What is not taken is waived.
    pub fn remarks(&mut self, fields: &[ForeignField], takes: impl Fn(Dialect, &str) -> bool) -> Extra {
        let mut passed = Extra::new();
        for field in fields {
            if field.parent.is_empty() && takes(self.origin, &field.name) {
                passed.insert(field.name.clone(), field.value.clone());
            } else {
                self.waive(field.path());
            }
        }
        passed
    }

    /// Fields of an answer, given or sent back, that the target has no place for: all are waived.
    pub fn waive_all(&mut self, fields: &[ForeignField]) {
        fields.iter().for_each(|field| self.waive(field.path()));
    }

    /// What was dropped, by the caller's names, in the order it was met.
    pub fn dropped(&self) -> &[String] {
        &self.dropped
    }

    /// The end of the translation.
    pub fn into_dropped(self) -> Vec<String> {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(parent: &str, name: &str) -> ForeignField {
        ForeignField { parent: parent.into(), name: name.into(), value: true.into() }
    }

    #[test]
    fn what_is_lost_is_refused_by_name_or_dropped_and_reported() {
        let mut strict = Losses::new(Unsupported::Refuse, Dialect::OpenAiChat, Dialect::Anthropic);
        let error = strict.lose("seed", "leave it out").expect_err("refused");
        assert_eq!(error.to_string(), "`seed` can't be expressed in Anthropic Messages: leave it out");
        assert_eq!(error.to_failure().param.as_deref(), Some("seed"));
        assert!(strict.dropped().is_empty());

        let mut lenient = Losses::new(Unsupported::Drop, Dialect::OpenAiChat, Dialect::Anthropic);
        lenient.lose("seed", "leave it out").expect("dropped");
        lenient.waive("messages[0].cache_control");
        assert_eq!(lenient.into_dropped(), ["seed", "messages[0].cache_control"]);
    }

    #[test]
    fn a_hint_is_waived_and_a_wish_refused() {
        let mut losses = Losses::new(Unsupported::Refuse, Dialect::Anthropic, Dialect::Gemini);
        let hints = [field("tools[0]", "defer_loading"), field("tools[1]", "eager_input_streaming")];
        assert!(losses.foreign(&hints, |_, _| false).is_ok_and(|passed| passed.is_empty()));
        assert_eq!(losses.dropped(), ["tools[0].defer_loading", "tools[1].eager_input_streaming"]);
        let error = losses.foreign(&[field("", "mcp_servers")], |_, _| false).expect_err("refused");
        assert_eq!(
            (error.field.as_str(), error.to_failure().class),
            ("mcp_servers", FailureClass::BadRequest)
        );
    }

    #[test]
    fn what_no_client_can_use_is_the_upstreams_failure() {
        let losses = Losses::new(Unsupported::Refuse, Dialect::OpenAiChat, Dialect::Anthropic);
        let failure = losses.unusable("content[0]", "its arguments are not JSON").to_failure();
        assert_eq!((failure.class, failure.param), (FailureClass::Upstream, None));
        assert!(failure.message.contains("`content[0]`"), "{}", failure.message);
    }

    #[test]
    fn what_an_answer_has_too_much_is_the_upstreams_fault() {
        let part = |dialect, kind: &str| ForeignPart { dialect, kind: kind.into(), value: true.into() };
        let mut losses = Losses::of_answer(Unsupported::Refuse, Dialect::Anthropic, Dialect::OpenAiChat);
        let record = part(Dialect::Anthropic, "web_search_tool_result");
        losses.lose_foreign_part("content[0]", &record, "x").expect("a record is waived");
        assert_eq!(losses.dropped(), ["content[0]"]);
        let call = part(Dialect::OpenAiResponses, "computer_call");
        let failure = losses.lose_foreign_part("content[1]", &call, "x").expect_err("to act on").to_failure();
        assert_eq!((failure.class, failure.param), (FailureClass::Upstream, None));
        // In a request the same part is the caller's.
        let mut losses = Losses::new(Unsupported::Refuse, Dialect::Anthropic, Dialect::OpenAiChat);
        let failure =
            losses.lose_foreign_part("messages[0]", &record, "x").expect_err("refused").to_failure();
        assert_eq!(failure.class, FailureClass::BadRequest);
    }

    #[test]
    fn foreign_fields_pass_only_at_the_top_and_only_where_taken() {
        let fields = [field("", "known"), field("", "other"), field("messages[0]", "known")];
        let mut losses = Losses::new(Unsupported::Drop, Dialect::OpenAiChat, Dialect::OpenAiChat);
        let passed = losses.foreign(&fields, |_, name| name == "known").expect("dropped");
        assert_eq!(passed.keys().collect::<Vec<_>>(), ["known"]);
        assert_eq!(losses.into_dropped(), ["other", "messages[0].known"]);
    }
}
