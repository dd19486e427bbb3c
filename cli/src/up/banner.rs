//! What is printed once everything answers.

use std::fmt::Write as _;
use std::net::SocketAddr;

use weighbridge_crds::adapter::adapted_name;
use weighbridge_gateway::directory::World;
use weighbridge_inference_server::http::Task;

use super::models::{Model, State};

/// What a banner tells beside the models.
pub struct Addresses<'a> {
    /// Where the door is.
    pub door: SocketAddr,
    /// Whether it speaks https.
    pub secure: bool,
    /// Where metrics are, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// How this program was called.
    pub program: &'a str,
}

/// The addresses, the models, and lines to paste. Without a `default_namespace` the door asks for a key.
pub fn banner(at: &Addresses<'_>, default_namespace: Option<&str>, models: &[Model]) -> String {
    let Addresses { door, secure, metrics, program } = *at;
    let url = url(door, secure);
    let mut text = format!("\nWeighbridge serves at {url}/v1\n\n");
    let called = |model: &Model| {
        if Some(model.name.namespace.as_str()) == default_namespace {
            model.name.name.clone()
        } else {
            model.name.to_string()
        }
    };
    let width = models.iter().map(|model| called(model).len()).max().unwrap_or(0);
    for model in models {
        let state = match &model.state {
            State::Ready(_) => String::new(),
            State::Waiting(reason) | State::Asleep(reason) | State::Failed(reason) => format!("  ({reason})"),
        };
        let world = model.world.as_str();
        // Writing to a String can't fail.
        let _ = writeln!(text, "  {:width$}  {world:6}  {}{state}", called(model), model.origin);
        for adapter in &model.adapters {
            let _ = writeln!(text, "  {}", adapted_name(&called(model), adapter));
        }
    }
    for task in [Task::Generation, Task::Completion, Task::Embedding, Task::Reranking] {
        let ready = |model: &&Model| model.task == task && matches!(model.state, State::Ready(_));
        if let Some(model) = models.iter().find(ready) {
            text.push_str(&ask(&url, program, model, &called(model), default_namespace.is_none()));
        }
    }
    if default_namespace.is_none() {
        text.push_str(
            "Callers need a key of the file's ModelAccess; put one into WEIGHBRIDGE_API_KEY to ask.\n",
        );
    }
    if let Some(metrics) = metrics {
        let url = self::url(metrics, false);
        // Writing to a String can't fail.
        let _ = writeln!(text, "Metrics are at {url}/metrics.");
    }
    text.push_str("Ctrl-C lets open streams finish and ends; a second Ctrl-C ends at once.\n");
    text
}

/// Lines to paste for `model`, called `name`.
fn ask(url: &str, program: &str, model: &Model, name: &str, with_key: bool) -> String {
    // The variable that `chat` reads too.
    let key = if with_key { " -H \"Authorization: Bearer $WEIGHBRIDGE_API_KEY\"" } else { "" };
    let curl = |path: &str, fields: &str| {
        format!(
            "{url}{path}{key} -H 'Content-Type: application/json' -d '{{\"model\": \"{name}\", {fields}}}'\n\n"
        )
    };
    match model.task {
        Task::Generation => {
            let at = if url == "http://127.0.0.1:8080" { String::new() } else { format!(" --url {url}") };
            // Small open models ramble at OpenAI's default of 1, and on and on, and guess at less; closed ones may refuse any other.
            let (field, flag) = match model.world {
                World::Open => ("\"temperature\": 0, \"max_tokens\": 200, ", " --temperature 0"),
                World::Closed => ("", ""),
            };
            let fields = format!(
                "\"stream\": true, {field}\"messages\": [{{\"role\": \"user\", \"content\": \"What is the \
                 capital of Germany?\"}}]"
            );
            let curl = curl("/v1/chat/completions", &fields);
            format!("\nAsk it something:\n\n  curl -N {curl}  {program} chat {name}{at}{flag}\n\n")
        }
        Task::Completion => {
            let fields =
                "\"stream\": true, \"temperature\": 0, \"max_tokens\": 200, \"prompt\": \"The sea is\"";
            let curl = curl("/v1/completions", fields);
            format!("\nLet it go on with a text:\n\n  curl -N {curl}")
        }
        Task::Embedding => {
            let curl = curl("/v1/embeddings", "\"input\": [\"Why is the sky blue?\"]");
            format!("\nEmbed something:\n\n  curl {curl}")
        }
        Task::Reranking => {
            let fields = "\"query\": \"Why is the sky blue?\", \"documents\": [\"Air scatters blue light most.\", \
                          \"The sky is the limit.\"]";
            let curl = curl("/v1/rerank", fields);
            format!("\nRank something:\n\n  curl {curl}")
        }
    }
}

/// An address that a client can call: one that stands for every interface is this machine's own.
fn url(door: SocketAddr, secure: bool) -> String {
    let host = match door {
        SocketAddr::V4(_) if door.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V6(_) if door.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    let scheme = if secure { "https" } else { "http" };
    format!("{scheme}://{host}:{}", door.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_address_can_be_called() {
        for (door, expected) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:81", "http://[::1]:81"),
            ("[fe80::1]:82", "http://[fe80::1]:82"),
        ] {
            assert_eq!(url(door.parse().unwrap(), false), expected);
        }
        assert_eq!(url("127.0.0.1:8443".parse().unwrap(), true), "https://127.0.0.1:8443");
    }
}
