//! `GET /v1/models` as Anthropic's clients read it.

use serde::Serialize;

use crate::canonical::write_time;

/// The models list, as one page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelList {
    /// The models.
    pub data: Vec<Model>,
    /// There is no further page.
    pub has_more: bool,
    /// The first model's id; null where there is none.
    pub first_id: Option<String>,
    /// The last model's id; null where there is none.
    pub last_id: Option<String>,
}

impl ModelList {
    /// A list of `data`, all of it.
    pub fn new(data: Vec<Model>) -> Self {
        let id = |model: Option<&Model>| model.map(|model| model.id.clone());
        let (first_id, last_id) = (id(data.first()), id(data.last()));
        Self { data, has_more: false, first_id, last_id }
    }
}

/// One entry of the models list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    /// Always `model`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name that a request's `model` takes.
    pub id: String,
    /// Its name for a person.
    pub display_name: String,
    /// When it was made, as RFC 3339 has it; Anthropic says 1970 where it does not know.
    pub created_at: String,
    /// `active`: what is listed here can be called.
    pub lifecycle: String,
}

impl Model {
    /// An entry; `created` in seconds since 1970.
    pub fn new(id: impl Into<String>, display_name: impl Into<String>, created: i64) -> Self {
        let created_at = write_time(created).unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned());
        Self {
            kind: "model".to_owned(),
            id: id.into(),
            display_name: display_name.into(),
            created_at,
            lifecycle: "active".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_list_is_anthropics() {
        let list = ModelList::new(vec![
            Model::new("team/a", "A", 1_772_712_000),
            Model::new("team/b", "B", i64::MAX),
        ]);
        assert_eq!(
            serde_json::to_value(list).expect("writes"),
            json!({
                "data": [
                    {"type": "model", "id": "team/a", "display_name": "A", "created_at": "2026-03-05T12:00:00Z",
                     "lifecycle": "active"},
                    {"type": "model", "id": "team/b", "display_name": "B", "created_at": "1970-01-01T00:00:00Z",
                     "lifecycle": "active"},
                ],
                "has_more": false, "first_id": "team/a", "last_id": "team/b",
            })
        );
        let none = serde_json::to_value(ModelList::new(Vec::new())).expect("writes");
        assert_eq!(none, json!({"data": [], "has_more": false, "first_id": null, "last_id": null}));
    }
}
