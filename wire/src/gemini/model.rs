//! `GET /v1beta/models` as Google's clients read it.

use serde::Serialize;

/// The models list, as one page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelList {
    /// The models.
    pub models: Vec<Model>,
    /// What asks for the next page; none after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// One entry of the models list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// `models/` and the name that a path takes.
    pub name: String,
    /// Its name for a person.
    pub display_name: String,
    /// The methods that answer for it, such as `generateContent`.
    pub supported_generation_methods: Vec<String>,
}

impl Model {
    /// An entry; `methods` are those that answer for it.
    pub fn new(id: &str, display_name: impl Into<String>, methods: &[&str]) -> Self {
        Self {
            name: format!("models/{id}"),
            display_name: display_name.into(),
            supported_generation_methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_list_is_googles() {
        let models = vec![Model::new("team/a", "A", &["generateContent", "countTokens"])];
        assert_eq!(
            serde_json::to_value(ModelList { models, next_page_token: None }).expect("writes"),
            json!({"models": [{
                "name": "models/team/a", "displayName": "A",
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            }]})
        );
    }
}
