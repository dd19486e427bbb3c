//! A provider's own list of models: where it is asked for, and what it says.

use serde::Deserialize;
use serde_json::Value;

use super::Kind;
use crate::canonical::read_time;
use crate::percent;

/// Models on a page, where a list has pages: the most that Anthropic and Google give.
const PAGE: &str = "1000";
/// The longest name that is taken for one.
const LONGEST_NAME: usize = 256;

/// One page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelPage {
    /// The models on it.
    pub models: Vec<OfferedModel>,
    /// What asks for the next page; none after the last.
    pub next: Option<String>,
}

/// A model that a provider offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfferedModel {
    /// Its name in requests.
    pub name: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// When it ends, in seconds since 1970, where the list says.
    pub retires: Option<i64>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "name")]
    id: String,
    /// Mistral's.
    #[serde(default)]
    aliases: Option<Vec<String>>,
    /// A time in Mistral's list; in Azure's an object with seconds since 1970.
    #[serde(default)]
    deprecation: Option<Value>,
    /// OpenRouter's: a date.
    #[serde(default)]
    expiration_date: Option<String>,
}

impl Kind {
    /// Path and query of the list's first page, or of that which `after` asks for, after the base URL; `None` where there
    /// is no list to ask for.
    pub fn models_page(self, after: Option<&str>) -> Option<String> {
        let path = self.profile().models_path;
        let page = |size: &str, next: &str| {
            let next = after.map(|after| format!("&{next}={}", percent::encode(after))).unwrap_or_default();
            format!("{path}?{size}={PAGE}{next}")
        };
        Some(match self {
            Self::OpenAi | Self::AzureOpenAi | Self::OpenAiCompatible => path.to_owned(),
            Self::Anthropic | Self::AnthropicCompatible => page("limit", "after_id"),
            Self::Gemini => page("pageSize", "pageToken"),
        })
    }

    /// Reads a page of the list; `None` where it is none. An entry that nobody can read is left out.
    pub fn read_models(self, body: &[u8]) -> Option<ModelPage> {
        let mut list: Value = serde_json::from_slice(body).ok()?;
        let text = |list: &Value, name: &str| list.get(name).and_then(Value::as_str).map(str::to_owned);
        let (field, next) = match self {
            Self::OpenAi | Self::AzureOpenAi | Self::OpenAiCompatible => ("data", None),
            Self::Anthropic | Self::AnthropicCompatible => {
                let more = list.get("has_more") == Some(&Value::Bool(true));
                ("data", text(&list, "last_id").filter(|_| more))
            }
            Self::Gemini => ("models", text(&list, "nextPageToken").filter(|token| !token.is_empty())),
        };
        let entries = match &mut list {
            Value::Object(list) => list.remove(field)?,
            // Some compatible servers leave the object around it out.
            list => list.take(),
        };
        let Value::Array(entries) = entries else { return None };
        let models = entries.into_iter().filter_map(|entry| self.offered(entry)).collect();
        Some(ModelPage { models, next })
    }

    /// Whether the list is shown to those with a key only; of servers that anybody may run, nobody knows.
    pub fn guards_its_models(self) -> bool {
        match self {
            Self::OpenAi | Self::AzureOpenAi | Self::Anthropic | Self::Gemini => true,
            Self::OpenAiCompatible | Self::AnthropicCompatible => false,
        }
    }

    /// Whether a model that is not in the list is not there. Azure lists what can be deployed, and requests name a
    /// deployment.
    pub fn lists_every_model(self) -> bool {
        match self {
            Self::AzureOpenAi => false,
            Self::OpenAi
            | Self::Anthropic
            | Self::Gemini
            | Self::OpenAiCompatible
            | Self::AnthropicCompatible => true,
        }
    }

    fn offered(self, entry: Value) -> Option<OfferedModel> {
        let Entry { id, aliases, deprecation, expiration_date } = serde_json::from_value(entry).ok()?;
        let name = id.strip_prefix("models/").unwrap_or(&id).to_owned();
        let mut aliases = aliases.unwrap_or_default();
        if matches!(self, Self::Anthropic | Self::AnthropicCompatible) {
            aliases.extend(undated(&name));
        }
        aliases.retain(|alias| alias.len() <= LONGEST_NAME);
        let deprecation = deprecation.and_then(|deprecation| match deprecation {
            Value::String(time) => time_or_date(&time),
            other => other.get("inference")?.as_i64(),
        });
        let retires = deprecation.or_else(|| time_or_date(&expiration_date?));
        (!name.is_empty() && name.len() <= LONGEST_NAME).then_some(OfferedModel { name, aliases, retires })
    }
}

/// The names that Anthropic takes for a model with a date (`claude-opus-4-20250514`) and does not list.
fn undated(name: &str) -> Vec<String> {
    let Some((base, date)) = name.rsplit_once('-') else { return Vec::new() };
    if date.len() != 8 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    vec![base.to_owned(), format!("{base}-latest"), format!("{base}-0")]
}

fn time_or_date(text: &str) -> Option<i64> {
    read_time(text)
        .or_else(|| read_time(&format!("{text}T00:00:00Z")))
        .or_else(|| read_time(&format!("{text}Z")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: Kind, list: &Value) -> ModelPage {
        kind.read_models(list.to_string().as_bytes()).expect("a list")
    }

    fn names(page: &ModelPage) -> Vec<&str> {
        page.models.iter().map(|model| model.name.as_str()).collect()
    }

    #[test]
    fn every_dialects_list_is_read_with_its_pages() {
        let openai = json!({"object": "list", "data": [{"id": "gpt-x", "object": "model", "created": 1, "owned_by": "o"},
            {"no": "id"}, "text", {"id": ""}, {"id": "y".repeat(257)}]});
        let page = read(Kind::OpenAi, &openai);
        assert_eq!((names(&page), page.next.as_deref()), (vec!["gpt-x"], None));
        let anthropic = json!({"data": [{"type": "model", "id": "claude-opus-4-20250514"}], "has_more": true,
            "first_id": "a", "last_id": "claude-opus-4-20250514"});
        let page = read(Kind::Anthropic, &anthropic);
        assert_eq!(page.models[0].aliases, ["claude-opus-4", "claude-opus-4-latest", "claude-opus-4-0"]);
        let next = Kind::Anthropic.models_page(page.next.as_deref());
        assert_eq!(next.as_deref(), Some("/v1/models?limit=1000&after_id=claude-opus-4-20250514"));
        let gemini = json!({"models": [{"name": "models/gemini-x", "version": "1"}], "nextPageToken": "a/b"});
        let page = read(Kind::Gemini, &gemini);
        assert_eq!(names(&page), ["gemini-x"]);
        let next = Kind::Gemini.models_page(page.next.as_deref());
        assert_eq!(next.as_deref(), Some("/v1beta/models?pageSize=1000&pageToken=a%2Fb"));
        assert_eq!(read(Kind::Gemini, &json!({"models": [], "nextPageToken": ""})).next, None);
        assert_eq!(names(&read(Kind::OpenAiCompatible, &json!([{"id": "m"}]))), ["m"]);
    }

    #[test]
    fn what_is_no_list_is_none() {
        for body in ["", "<html>", "{}", "7", r#"{"data":{}}"#, r#"{"error":{"message":"no"}}"#] {
            for kind in Kind::ALL {
                assert_eq!(kind.read_models(body.as_bytes()), None, "{kind} {body}");
            }
        }
    }

    #[test]
    fn ends_are_read_as_each_provider_writes_them() {
        let ends = |kind: Kind, fields: Value| {
            let mut entry = json!({"id": "m"});
            entry.as_object_mut().expect("an object").extend(fields.as_object().cloned().expect("fields"));
            read(kind, &json!({"data": [entry]})).models[0].retires
        };
        let day = Some(1_794_096_000);
        // OpenRouter.
        assert_eq!(ends(Kind::OpenAiCompatible, json!({"expiration_date": "2026-11-08"})), day);
        assert_eq!(ends(Kind::OpenAiCompatible, json!({"expiration_date": null})), None);
        // Mistral.
        assert_eq!(ends(Kind::OpenAiCompatible, json!({"deprecation": "2026-11-08T00:00:00Z"})), day);
        assert_eq!(ends(Kind::OpenAiCompatible, json!({"deprecation": "2026-11-08T00:00:00"})), day);
        assert_eq!(ends(Kind::OpenAiCompatible, json!({"deprecation": null, "aliases": null})), None);
        assert_eq!(ends(Kind::OpenAiCompatible, json!({"deprecation": "soon"})), None);
        // Azure.
        let azure = json!({"deprecation": {"fine_tune": 1, "inference": 1_794_096_000}});
        assert_eq!(ends(Kind::AzureOpenAi, azure), day);
    }
}
