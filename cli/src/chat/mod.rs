//! `weighbridge chat`: a conversation in the terminal, each answer streamed.
//!
//! Lives here: turns and keys. May not live here: the dialect, which is `weighbridge-wire`.

mod client;
mod input;

use std::io;

use serde_json::{Value, json};
use tokio::signal;
use weighbridge_wire::openai::FinishReason;

use crate::args::ChatArgs;
use crate::terminal::{Terminal, in_words};
use client::{Answer, CallError, Client};
use input::{Input, Line};

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// A question got no whole answer, and nobody is there to ask again.
    #[error(transparent)]
    Call(CallError),
    /// stdin failed.
    #[error("can't read what you type")]
    Read(#[source] io::Error),
    /// stdout is gone.
    #[error("can't write the answer")]
    Write(#[source] io::Error),
    /// Ctrl-C, where nobody types.
    #[error("interrupted")]
    Interrupted,
}

/// What people type to leave; from a pipe they are questions like any other.
const LEAVE: [&str; 3] = ["/bye", "/exit", "/quit"];

/// Talks until the input ends.
///
/// # Errors
/// Where a call fails and nobody is there to try again, and where input or output fails.
pub async fn chat(args: ChatArgs, terminal: &Terminal) -> Result<(), ChatError> {
    let client = Client::new(&args).map_err(ChatError::Call)?;
    let input = Input::new();
    let mut talk = Talk { client, terminal, messages: Vec::new(), interactive: input.is_typed() };
    if let Some(system) = &args.system {
        talk.messages.push(message("system", system));
    }
    talk.run(input).await
}

struct Talk<'a> {
    client: Client,
    terminal: &'a Terminal,
    messages: Vec<Value>,
    interactive: bool,
}

impl Talk<'_> {
    async fn run(&mut self, mut input: Input) -> Result<(), ChatError> {
        if self.interactive {
            self.terminal.note("Ctrl-C stops an answer; /bye or Ctrl-D leaves.");
        }
        loop {
            if self.interactive {
                self.terminal.prompt("> ");
            }
            let line = tokio::select! {
                line = input.next() => line.map_err(ChatError::Read)?,
                _ = signal::ctrl_c() => Line::Stopped,
            };
            match line {
                Line::Text(text) if text.trim().is_empty() => {}
                Line::Text(text) if self.interactive && LEAVE.contains(&text.trim()) => return Ok(()),
                Line::Text(text) => self.turn(&text).await?,
                Line::Stopped if self.interactive => self.terminal.note("\n(Ctrl-D leaves)"),
                Line::Stopped => return Err(ChatError::Interrupted),
                Line::End => return Ok(()),
            }
        }
    }

    /// One question and its answer. A question that failed is forgotten; what a stopped answer said stays.
    async fn turn(&mut self, text: &str) -> Result<(), ChatError> {
        self.messages.push(message("user", text));
        let mut said = String::new();
        let ended = tokio::select! {
            ended = self.answer(&mut said) => ended,
            _ = signal::ctrl_c() => Err(ChatError::Interrupted),
        };
        match ended {
            Ok(reason) => {
                self.terminal.print("\n").map_err(ChatError::Write)?;
                if reason == Some(FinishReason::Length) {
                    self.terminal.note("(the answer reached its longest length)");
                }
            }
            Err(ChatError::Interrupted) if self.interactive => self.terminal.note(" (stopped)"),
            Err(ChatError::Call(error)) if self.interactive => {
                self.messages.pop();
                self.terminal.note(&format!("weighbridge: {}", in_words(&error)));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.messages.push(message("assistant", &said));
        Ok(())
    }

    async fn answer(&self, said: &mut String) -> Result<Option<FinishReason>, ChatError> {
        let mut answer: Answer = self.client.ask(&self.messages).await.map_err(ChatError::Call)?;
        while let Some(piece) = answer.next().await.map_err(ChatError::Call)? {
            self.terminal.print(&piece).map_err(ChatError::Write)?;
            said.push_str(&piece);
        }
        Ok(answer.finish_reason())
    }
}

fn message(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}
