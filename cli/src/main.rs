//! The `weighbridge` command.
//!
//! `up` serves a file's models in this one process, `chat` talks to a model, `plan` says what a cluster
//! would get, `rollback` brings an earlier revision back in one, `promote` passes a step of a trial there, `key` makes API keys, `synth` makes a model of random weights. Lives here: what only a person at a
//! terminal needs. May not live here: validation, planning, serving and routing; those are the crates that a cluster
//! runs too.

mod args;
mod chat;
mod cluster;
mod key;
mod manifest_file;
mod plan;
mod promote;
mod rollback;
mod run;
mod secret;
mod synth;
mod terminal;
mod up;

fn main() -> std::process::ExitCode {
    run::run(clap::Parser::parse())
}
