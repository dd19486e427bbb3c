//! Which part of a list is asked for.

use std::num::NonZeroUsize;

use super::Listed;
use crate::canonical::{Dialect, Failure, FailureClass};
use crate::percent;

/// A part of a list, whose places are names of models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Most models.
    limit: Option<NonZeroUsize>,
    /// The name it begins after.
    after: Option<String>,
    /// The name it ends before.
    before: Option<String>,
}

impl Page {
    /// What a URL's query asks for: `limit`, `after_id` and `before_id` of Anthropic's dialect, `pageSize` and `pageToken`
    /// of Gemini's. OpenAI's and Bedrock's have no pages.
    ///
    /// # Errors
    /// The parameter that makes no page.
    pub fn from_query(dialect: Dialect, query: Option<&str>) -> Result<Self, Failure> {
        let (limit, after, before) = match dialect {
            Dialect::OpenAiChat
            | Dialect::OpenAiCompletions
            | Dialect::OpenAiResponses
            | Dialect::Converse => {
                return Ok(Self::default());
            }
            Dialect::Anthropic => ("limit", "after_id", Some("before_id")),
            Dialect::Gemini => ("pageSize", "pageToken", None),
        };
        let mut page = Self::default();
        for pair in query.unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let refused = |problem: &str| refused(name, problem);
            let value = percent::decode(value).ok_or_else(|| refused("its percent-encoding is broken"))?;
            if name == limit {
                let number = value.parse().map_err(|_| refused("it is a whole number from 1"))?;
                page.limit = Some(number);
            } else if name == after {
                page.after = (!value.is_empty()).then(|| value.into_owned());
            } else if Some(name) == before {
                page.before = (!value.is_empty()).then(|| value.into_owned());
            }
        }
        if page.after.is_some() && page.before.is_some() {
            return Err(refused("before_id", "it can't stand beside `after_id`: leave one of them out"));
        }
        Ok(page)
    }

    /// The models on this page, and whether there are more beyond it.
    pub(super) fn of<'a, 'b>(&self, models: &'b [Listed<'a>]) -> Result<(&'b [Listed<'a>], bool), Failure> {
        let limit = self.limit.map_or(models.len(), NonZeroUsize::get);
        let at = |param: &str, name: &str| {
            let found = models.iter().position(|model| model.name == name);
            found.ok_or_else(|| refused(param, "no model of the list has this name"))
        };
        if let Some(before) = &self.before {
            let end = at("before_id", before)?;
            let begin = end.saturating_sub(limit);
            return Ok((models.get(begin..end).unwrap_or_default(), begin > 0));
        }
        let begin = match &self.after {
            Some(after) => at("after_id", after)? + 1,
            None => 0,
        };
        let end = begin.saturating_add(limit).min(models.len());
        Ok((models.get(begin..end).unwrap_or_default(), end < models.len()))
    }
}

fn refused(param: &str, problem: &str) -> Failure {
    let mut failure = Failure::new(FailureClass::BadRequest, format!("`{param}`: {problem}."));
    failure.param = Some(param.to_owned());
    failure
}
