//! From parsed flags to an exit code.

use std::io;
use std::process::ExitCode;

use crate::args::{Cli, Command, KeyCommand};
use crate::chat::{self, ChatError};
use crate::key::{self, CreateError, HashError};
use crate::plan::{self, PlanError};
use crate::promote::{self, PromoteError};
use crate::rollback::{self, RollbackError};
use crate::synth::{self, MakeError};
use crate::terminal::{Terminal, in_words};
use crate::up::{self, UpError};

/// What shells expect after Ctrl-C: 128 and SIGINT's number.
const INTERRUPTED: u8 = 130;

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Up(UpError),
    #[error(transparent)]
    Chat(ChatError),
    #[error(transparent)]
    Plan(PlanError),
    #[error(transparent)]
    Rollback(RollbackError),
    #[error(transparent)]
    Promote(PromoteError),
    #[error(transparent)]
    KeyCreate(CreateError),
    #[error(transparent)]
    KeyHash(HashError),
    #[error(transparent)]
    Synth(MakeError),
    #[error("can't start the runtime")]
    Runtime(#[source] io::Error),
}

/// Does what was asked for; what goes wrong is said on stderr.
pub fn run(cli: Cli) -> ExitCode {
    let terminal = Terminal::new();
    let error = match command(cli.command, &terminal) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    match &error {
        // `weighbridge plan | head` is done when head is.
        RunError::Plan(PlanError::Write(error)) | RunError::Chat(ChatError::Write(error))
            if error.kind() == io::ErrorKind::BrokenPipe =>
        {
            ExitCode::SUCCESS
        }
        RunError::Up(UpError::Interrupted) | RunError::Chat(ChatError::Interrupted) => {
            ExitCode::from(INTERRUPTED)
        }
        error => {
            terminal.note(&format!("weighbridge: {}", in_words(error)));
            ExitCode::FAILURE
        }
    }
}

fn command(command: Command, terminal: &Terminal) -> Result<(), RunError> {
    match command {
        Command::Plan(args) => plan::plan(&args, terminal).map_err(RunError::Plan),
        Command::Key(KeyCommand::Create(args)) => key::create(&args, terminal).map_err(RunError::KeyCreate),
        Command::Key(KeyCommand::Hash) => key::hash(terminal).map_err(RunError::KeyHash),
        Command::Synth(args) => synth::synth(&args, terminal).map_err(RunError::Synth),
        Command::Chat(args) => block_on(chat::chat(args, terminal))?.map_err(RunError::Chat),
        Command::Promote(args) => block_on(promote::promote(args, terminal))?.map_err(RunError::Promote),
        Command::Rollback(args) => block_on(rollback::rollback(args, terminal))?.map_err(RunError::Rollback),
        Command::Up(args) => block_on(up::up(*args, terminal))?.map_err(RunError::Up),
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T, RunError> {
    let runtime = tokio::runtime::Runtime::new().map_err(RunError::Runtime)?;
    let done = runtime.block_on(work);
    // A thread that still computes, or waits for a line of stdin, is not waited for.
    runtime.shutdown_background();
    Ok(done)
}
