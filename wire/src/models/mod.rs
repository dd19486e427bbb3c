//! Lists of models, as the clients of each dialect read them.
//!
//! Which models there are is the caller's affair. Here lives what a path asks for, and how a list and one model look.

mod page;
mod path;

pub use page::Page;
pub use path::{Asked, asked};

use serde::Serialize;

use crate::canonical::{Dialect, Failure};
use crate::{anthropic, bedrock, gemini, openai};

/// A model for a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The name that requests use.
    pub name: &'a str,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Who answers for it.
    pub owner: &'a str,
}

/// The page of `models`, which are in order of their names.
///
/// # Errors
/// Where the page begins at a model that is not there.
pub fn list(dialect: Dialect, page: &Page, models: &[Listed<'_>]) -> Result<Vec<u8>, Failure> {
    Ok(match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions | Dialect::OpenAiResponses => {
            json(&openai::ModelList::new(models.iter().map(of_openai).collect()))
        }
        Dialect::Anthropic => {
            let (shown, has_more) = page.of(models)?;
            json(&anthropic::ModelList {
                has_more,
                ..anthropic::ModelList::new(shown.iter().map(of_anthropic).collect())
            })
        }
        Dialect::Gemini => {
            let (shown, more) = page.of(models)?;
            let next_page_token = shown.last().filter(|_| more).map(|last| last.name.to_owned());
            json(&gemini::ModelList { models: shown.iter().map(of_gemini).collect(), next_page_token })
        }
        Dialect::Converse => {
            json(&bedrock::ModelList { model_summaries: models.iter().map(of_bedrock).collect() })
        }
    })
}

/// One model.
pub fn one(dialect: Dialect, model: &Listed<'_>) -> Vec<u8> {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions | Dialect::OpenAiResponses => {
            json(&of_openai(model))
        }
        Dialect::Anthropic => json(&of_anthropic(model)),
        Dialect::Gemini => json(&of_gemini(model)),
        Dialect::Converse => json(&bedrock::ModelDetails { model_details: of_bedrock(model) }),
    }
}

/// Strings and integers always encode.
fn json<T: Serialize>(list: &T) -> Vec<u8> {
    serde_json::to_vec(list).unwrap_or_default()
}

fn of_openai(model: &Listed<'_>) -> openai::Model {
    openai::Model::new(model.name, model.created, model.owner)
}

fn of_anthropic(model: &Listed<'_>) -> anthropic::Model {
    anthropic::Model::new(model.name, model.name, model.created)
}

fn of_bedrock(model: &Listed<'_>) -> bedrock::Model {
    bedrock::Model::new(model.name, model.owner)
}

/// What it can do is what every model here is answered for.
fn of_gemini(model: &Listed<'_>) -> gemini::Model {
    gemini::Model::new(model.name, model.name, &gemini::Method::ALL.map(gemini::Method::as_str))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const MODELS: [Listed<'static>; 3] = [
        Listed { name: "n/a", created: 0, owner: "weighbridge" },
        Listed { name: "n/b", created: 1_764_000_000, owner: "acme" },
        Listed { name: "n/c", created: 2, owner: "weighbridge" },
    ];

    fn listed(dialect: Dialect, query: &str) -> Value {
        let list = list(dialect, &Page::from_query(dialect, Some(query)).expect("a page"), &MODELS);
        serde_json::from_slice(&list.expect("listed")).expect("JSON")
    }

    #[test]
    fn each_dialect_has_its_list() {
        assert_eq!(listed(Dialect::OpenAiChat, "")["data"][1]["owned_by"], "acme");
        let all = listed(Dialect::Anthropic, "");
        assert_eq!(
            (&all["has_more"], &all["first_id"], &all["last_id"]),
            (&json!(false), &json!("n/a"), &json!("n/c"))
        );
        assert_eq!(all["data"][1]["created_at"], "2025-11-24T16:00:00Z");
        assert_eq!(listed(Dialect::Gemini, "")["models"][0]["name"], "models/n/a");
        assert!(listed(Dialect::Gemini, "").get("nextPageToken").is_none());
    }

    #[test]
    fn pages_follow_one_another_to_the_end() {
        let first = listed(Dialect::Anthropic, "limit=2");
        assert_eq!((&first["has_more"], &first["last_id"]), (&json!(true), &json!("n/b")));
        let second = listed(Dialect::Anthropic, "limit=2&after_id=n%2Fb");
        assert_eq!((second["data"].as_array().map(Vec::len), &second["has_more"]), (Some(1), &json!(false)));
        let back = listed(Dialect::Anthropic, "limit=1&before_id=n/c");
        assert_eq!(back["data"][0]["id"], "n/b");
        let first = listed(Dialect::Gemini, "pageSize=1");
        assert_eq!(first["nextPageToken"], "n/a");
        assert_eq!(listed(Dialect::Gemini, "pageSize=5&pageToken=n/a")["models"][0]["name"], "models/n/b");
    }

    #[test]
    fn a_page_that_is_none_is_refused_by_its_name() {
        let refused = |dialect, query| Page::from_query(dialect, Some(query)).expect_err("refused").param;
        assert_eq!(refused(Dialect::Anthropic, "limit=0").as_deref(), Some("limit"));
        assert_eq!(refused(Dialect::Anthropic, "limit=x").as_deref(), Some("limit"));
        assert_eq!(refused(Dialect::Gemini, "pageSize=-1").as_deref(), Some("pageSize"));
        assert_eq!(refused(Dialect::Anthropic, "after_id=a&before_id=b").as_deref(), Some("before_id"));
        let unknown = Page::from_query(Dialect::Anthropic, Some("after_id=n/x")).expect("a page");
        assert!(list(Dialect::Anthropic, &unknown, &MODELS).is_err());
    }
}
