//! The clients, and how to run one.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Cell, Outcome, Upstream};

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

/// Where a client finds its upstreams.
#[derive(Clone, Debug)]
pub struct Server {
    /// What stands before each dialect's own path, such as `http://127.0.0.1:8080`.
    pub base_url: String,
    /// The caller's key.
    pub key: String,
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

    /// What `client` says of `upstreams` at `server`. A program that breaks is an outcome that failed.
    ///
    /// # Errors
    /// Where it can't be started, or says what is no report.
    pub async fn run(
        &self,
        client: &Client,
        server: &Server,
        upstreams: &[Upstream],
    ) -> anyhow::Result<Vec<Outcome>> {
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
        let Server { base_url, key } = server;
        command.args([
            "--plan",
            "--dialect",
            client.dialect.word(),
            "--base-url",
            base_url,
            "--api-key",
            key,
        ]);
        // A folder of the repository is no place for bytecode, and the server under test is on this machine.
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "*").env("no_proxy", "*");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let started = command.spawn();
        let mut program = started.with_context(|| format!("can't start {}", client.name))?;
        let plan = upstreams.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?.join("\n");
        let mut input = program.stdin.take().context("no standard input")?;
        // All of it fits in a pipe, and a program that reads none of it says why.
        input.write_all(plan.as_bytes()).await.ok();
        drop(input);
        let run = program.wait_with_output().await?;
        let said = String::from_utf8_lossy(&run.stdout);
        let mut outcomes = Vec::new();
        for line in said.lines() {
            let Line { client: said_by, upstream, scenario, streaming, ok, refused, detail } =
                serde_json::from_str(line).with_context(|| format!("{} says {line}", client.name))?;
            ensure!(said_by == client.name, "{} calls itself {said_by}", client.name);
            let cell = match (ok, refused) {
                (false, _) => Cell::Failed(detail),
                (true, field) if field.is_empty() => Cell::Passed,
                (true, field) => Cell::Refused(field),
            };
            outcomes.push(Outcome { client: client.name.to_owned(), upstream, scenario, streaming, cell });
        }
        let failed = |outcome: &Outcome| matches!(outcome.cell, Cell::Failed(_));
        if !outcomes.iter().any(failed) && !run.status.success() {
            let said = format!("{}: {}", run.status, String::from_utf8_lossy(&run.stderr));
            outcomes.push(Outcome {
                client: client.name.to_owned(),
                upstream: upstreams.iter().map(|upstream| upstream.name.clone()).collect(),
                scenario: "the program".to_owned(),
                streaming: false,
                cell: Cell::Failed(said),
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
    upstream: String,
    scenario: String,
    streaming: bool,
    ok: bool,
    refused: String,
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
