//! Everything that a person reads goes through here: answers to stdout, all else to stderr.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};

use indicatif::MultiProgress;

/// The two streams. Clones share the bars that may stand on stderr.
#[derive(Clone, Debug)]
pub struct Terminal {
    bars: MultiProgress,
}

impl Terminal {
    /// Both streams, with no bar on them.
    pub fn new() -> Self {
        Self { bars: MultiProgress::new() }
    }

    /// Text to stdout, at once.
    pub fn print(&self, text: &str) -> io::Result<()> {
        self.bars.suspend(|| {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()
        })
    }

    /// A line to stderr. A stderr that is gone is nobody's concern.
    pub fn note(&self, text: &str) {
        self.bars.suspend(|| writeln!(io::stderr().lock(), "{text}").ok());
    }

    /// Text to stderr with no line end, such as a prompt.
    pub fn prompt(&self, text: &str) {
        let mut err = io::stderr().lock();
        err.write_all(text.as_bytes()).and_then(|()| err.flush()).ok();
    }

    /// Whether a person watches stderr, so that it may be drawn on.
    pub fn is_watched(&self) -> bool {
        io::stderr().is_terminal()
    }

    /// The bars on stderr, to add one.
    pub fn bars(&self) -> &MultiProgress {
        &self.bars
    }
}

/// Log lines between the bars, not through them.
impl io::Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bars.suspend(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// An error and its causes in one line; a cause that its parent repeats is said once.
pub fn in_words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !words.contains(&said) {
            words.push_str(": ");
            words.push_str(&said);
        }
        cause = error.source();
    }
    words
}
