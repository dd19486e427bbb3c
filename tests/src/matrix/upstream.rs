//! What a client is pointed at, and what it is asked to find there.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// What a server is asked to be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ability {
    /// Plain answers, with a system's instruction, and their tokens.
    Text,
    /// The older completions, where the client has them.
    Completions,
    /// A question about a picture that comes with it.
    Image,
    /// Half of a prompt was read from the provider's cache; needs the models that misbehave.
    Cached,
    /// A loop of two turns with one tool.
    Tools,
    /// The same with two calls at once, one of them without arguments.
    Parallel,
    /// Answers that are instances of a schema.
    Schema,
    /// Thoughts, counted, and shown where the dialect shows them; a loop of two turns with them.
    Thinking,
    /// Thoughts that come back altered, or not at all, are refused.
    Signature,
    /// Responses: a second turn that names the first by its id.
    Stored,
    /// Embeddings, where the dialect has them.
    Embeddings,
    /// Tokens counted before they are used, where the dialect can.
    Count,
    /// The list of models, and the one that is asked for.
    Models,
    /// Callers without a right key, and of another's model, are turned away.
    Keys,
    /// Errors of the right class and status, before and within a stream; needs the models that misbehave.
    Errors,
    /// The client tries again when it is told to; needs the models that misbehave, and nothing before them
    /// that tries again itself.
    Retries,
}

impl Ability {
    /// All that a faithful simulator can do.
    pub const SIMULATED: [Self; 14] = [
        Self::Text,
        Self::Completions,
        Self::Image,
        Self::Cached,
        Self::Tools,
        Self::Parallel,
        Self::Schema,
        Self::Thinking,
        Self::Signature,
        Self::Stored,
        Self::Embeddings,
        Self::Count,
        Self::Errors,
        Self::Retries,
    ];
}

/// What a client is pointed at. The programs read it as JSON (`checks.Upstream`).
#[derive(Clone, Debug, Default, Serialize)]
pub struct Upstream {
    /// What the table calls it.
    pub name: String,
    /// The model to ask for.
    pub model: String,
    /// What it can do.
    pub abilities: Vec<Ability>,
    /// The name of the model that misbehaves in way `{}`.
    pub faults: String,
    /// Whether a faithful simulator answers in the end, whose words are known.
    pub simulated: bool,
    /// Whether thoughts are signed each for itself.
    pub signed: bool,
    /// What the programs' question is answered with, where the model's likeliest words are known.
    pub answer: Option<String>,
    /// Tokens of that question and of its answer.
    pub tokens: Option<[u64; 2]>,
    /// By scenario, the field that must be refused by name.
    pub refused: BTreeMap<String, String>,
    /// By fault, the status that it comes to; where there is nothing, the simulator's own.
    #[serde(serialize_with = "in_order")]
    pub statuses: Option<Vec<(String, u16)>>,
    /// The same of faults within a stream, as far as a dialect says it there.
    #[serde(serialize_with = "in_order")]
    pub broken: Option<Vec<(String, u16)>>,
}

fn in_order<S: Serializer>(pairs: &Option<Vec<(String, u16)>>, serializer: S) -> Result<S::Ok, S::Error> {
    match pairs {
        None => serializer.serialize_none(),
        Some(pairs) => serializer.collect_map(pairs.iter().map(|(name, status)| (name, status))),
    }
}
