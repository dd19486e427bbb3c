//! The clients, and how to run one.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::process::Command;

use super::Outcome;

/// A dialect that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
    /// Gemini's generateContent.
    Generate,
}

impl Dialect {
    fn word(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Generate => "generate",
        }
    }
}

/// What a server is asked to be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ability {
    /// Plain answers.
    Text,
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
    /// Errors of the right class and status, before and within a stream; needs the models that misbehave.
    Errors,
    /// The client tries again when it is told to; needs the models that misbehave, and nothing before them
    /// that tries again itself.
    Retries,
}

impl Ability {
    /// All that a faithful simulator can do.
    pub const ALL: [Self; 11] = [
        Self::Text,
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

    fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Tools => "tools",
            Self::Parallel => "parallel",
            Self::Schema => "schema",
            Self::Thinking => "thinking",
            Self::Signature => "signature",
            Self::Stored => "stored",
            Self::Embeddings => "embeddings",
            Self::Count => "count",
            Self::Errors => "errors",
            Self::Retries => "retries",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Python,
    /// A provider's own SDK for Node.
    NodeVendor,
    /// Vercel's AI SDK.
    NodeAi,
}

/// One SDK in one dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// What the table calls it.
    pub name: &'static str,
    /// What it speaks.
    pub dialect: Dialect,
    program: Program,
}

/// Every client.
pub const CLIENTS: [Client; 11] = [
    Client { name: "openai-python chat", dialect: Dialect::Chat, program: Program::Python },
    Client { name: "openai-node chat", dialect: Dialect::Chat, program: Program::NodeVendor },
    Client { name: "ai-sdk openai chat", dialect: Dialect::Chat, program: Program::NodeAi },
    Client { name: "openai-python responses", dialect: Dialect::Responses, program: Program::Python },
    Client { name: "openai-node responses", dialect: Dialect::Responses, program: Program::NodeVendor },
    Client { name: "ai-sdk openai responses", dialect: Dialect::Responses, program: Program::NodeAi },
    Client { name: "anthropic-python", dialect: Dialect::Messages, program: Program::Python },
    Client { name: "anthropic-node", dialect: Dialect::Messages, program: Program::NodeVendor },
    Client { name: "ai-sdk anthropic", dialect: Dialect::Messages, program: Program::NodeAi },
    Client { name: "google-genai", dialect: Dialect::Generate, program: Program::Python },
    Client { name: "ai-sdk google", dialect: Dialect::Generate, program: Program::NodeAi },
];

/// What a client is pointed at.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// What the table calls it.
    pub name: String,
    /// What stands before each dialect's own path, such as `http://127.0.0.1:8080`.
    pub base_url: String,
    /// The model to ask for.
    pub model: String,
    /// What it can do.
    pub abilities: Vec<Ability>,
    /// The name of the model that misbehaves in way `{}`.
    pub faults: String,
    /// Whether a faithful simulator answers in the end, whose words are known.
    pub simulated: bool,
}

/// The installed SDKs.
#[derive(Clone, Debug)]
pub struct Clients {
    python: PathBuf,
    node_modules: PathBuf,
}

impl Clients {
    /// Installs them where they are not yet.
    ///
    /// # Errors
    /// Where a program is missing or a registry gives nothing, in words.
    pub async fn install() -> anyhow::Result<Self> {
        Ok(Self { python: installed("python").await?, node_modules: installed("node").await? })
    }

    /// What `client` says of `upstream`. A program that breaks is an outcome that failed.
    ///
    /// # Errors
    /// Where it can't be started.
    pub async fn run(&self, client: &Client, upstream: &Upstream) -> anyhow::Result<Vec<Outcome>> {
        let Self { python, node_modules } = self;
        let mut command = match client.program {
            Program::Python => {
                let mut command = Command::new(python);
                command.arg(folder().join("python/client.py"));
                command
            }
            Program::NodeVendor | Program::NodeAi => {
                let mut command = Command::new("node");
                let kind = if client.program == Program::NodeAi { "ai" } else { "vendor" };
                command.arg(folder().join("node/client.mjs")).args(["--client", kind]);
                command.env("WEIGHBRIDGE_NODE_CLIENTS", node_modules);
                command
            }
        };
        let Upstream { name, base_url, model, abilities, faults, simulated } = upstream;
        let words: Vec<&str> = abilities.iter().map(|ability| ability.word()).collect();
        command.args(["--dialect", client.dialect.word(), "--base-url", base_url, "--model", model]);
        command.args(["--abilities", &words.join(","), "--faults", faults]);
        if *simulated {
            command.arg("--simulated");
        }
        // A folder of the repository is no place for bytecode, and the server under test is on this machine.
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "*").env("no_proxy", "*");
        let run = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
        let run = run.with_context(|| format!("can't start {}", client.name))?;
        let said = String::from_utf8_lossy(&run.stdout);
        let mut outcomes = Vec::new();
        for line in said.lines() {
            let Line { client: said_by, scenario, streaming, ok, detail } =
                serde_json::from_str(line).with_context(|| format!("{} says {line}", client.name))?;
            ensure!(said_by == client.name, "{} calls itself {said_by}", client.name);
            outcomes.push(Outcome {
                client: client.name.to_owned(),
                upstream: name.clone(),
                scenario,
                streaming,
                failure: (!ok).then_some(detail),
            });
        }
        if outcomes.iter().all(|outcome| outcome.failure.is_none()) && !run.status.success() {
            outcomes.push(Outcome {
                client: client.name.to_owned(),
                upstream: name.clone(),
                scenario: "the program".to_owned(),
                streaming: false,
                failure: Some(format!("{}: {}", run.status, String::from_utf8_lossy(&run.stderr))),
            });
        }
        Ok(outcomes)
    }
}

/// A line of a client's report.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    client: String,
    scenario: String,
    streaming: bool,
    ok: bool,
    detail: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

async fn installed(which: &str) -> anyhow::Result<PathBuf> {
    let script = folder().join("install.sh");
    let run = Command::new(&script).arg(which).stdin(Stdio::null()).output().await;
    let run = run.with_context(|| format!("can't start {}", script.display()))?;
    ensure!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Ok(PathBuf::from(String::from_utf8(run.stdout)?.trim()))
}
