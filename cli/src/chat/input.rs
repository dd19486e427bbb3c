//! Lines of stdin, each a question.

use std::io::{self, IsTerminal as _};

use tokio::sync::mpsc;

/// What came.
pub enum Line {
    /// A line, without its end.
    Text(String),
    /// Ctrl-C.
    Stopped,
    /// Ctrl-D, or the end of a pipe.
    End,
}

/// Stdin, read by a thread of its own: a read of a terminal can't be called back.
pub struct Input {
    lines: mpsc::Receiver<io::Result<String>>,
    typed: bool,
}

impl Input {
    /// Begins to read.
    pub fn new() -> Self {
        // One line ahead is all a person can type before the answer.
        let (sender, lines) = mpsc::channel(1);
        std::thread::spawn(move || {
            for line in io::stdin().lines() {
                let failed = line.is_err();
                if sender.blocking_send(line).is_err() || failed {
                    return;
                }
            }
        });
        Self { lines, typed: io::stdin().is_terminal() }
    }

    /// Whether a person types, as opposed to a pipe.
    pub fn is_typed(&self) -> bool {
        self.typed
    }

    /// The next line, once it is there.
    ///
    /// # Errors
    /// stdin failed.
    pub async fn next(&mut self) -> io::Result<Line> {
        Ok(match self.lines.recv().await.transpose()? {
            Some(text) => Line::Text(text),
            None => Line::End,
        })
    }
}
