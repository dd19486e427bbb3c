//! What a request's `model` asks for.

/// What the simulator does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// `normal`: a right answer, streamed if asked.
    Normal,
    /// `gated`: the same, each event only when the test releases it.
    Gated,
    /// `told`: as `gated`, with the prompt's tokens in the answer's head, where our engine says them.
    Told,
    /// `drip`: the same, each byte its own chunk.
    Drip,
    /// `paced`: the same, 20 ms between events; for people, not for tests.
    Paced,
    /// `burst`: a stream of 100 chunks, all at once.
    Burst,
    /// `no-usage`: a stream that ignores `include_usage`.
    NoUsage,
    /// `silent`: no answer until the test releases one.
    Silent,
    /// `hang-up`: closes the connection without an answer.
    HangUp,
    /// `cut`: breaks the connection in mid-stream (or in mid-body).
    Cut,
    /// `truncated`: ends the stream cleanly, without its end mark.
    Truncated,
    /// `error-in-stream`: an error as an event, after some text.
    ErrorInStream,
    /// `error-first`: an error as the first event of a 200.
    ErrorFirst,
    /// `error-in-200`: a whole answer that is an error, with status 200.
    ErrorIn200,
    /// `html`: a page.
    Html,
    /// `invalid-json`: half an object, or an event that is no JSON.
    InvalidJson,
    /// `endless`: a body, or an event, that never ends.
    Endless,
    /// `redirect`: 307 to another place.
    Redirect,
    /// `echo-key`: 400 that repeats the caller's key.
    EchoKey,
    /// `status-NNN`: an error of this status in OpenAI's shape; with `retry-after: 7` where it fits.
    Status(u16),
}

impl Behaviour {
    /// By the name of a model; `None` where no behaviour is called so.
    pub fn named(model: &str) -> Option<Self> {
        Some(match model {
            "normal" => Self::Normal,
            "gated" => Self::Gated,
            "told" => Self::Told,
            "drip" => Self::Drip,
            "paced" => Self::Paced,
            "burst" => Self::Burst,
            "no-usage" => Self::NoUsage,
            "silent" => Self::Silent,
            "hang-up" => Self::HangUp,
            "cut" => Self::Cut,
            "truncated" => Self::Truncated,
            "error-in-stream" => Self::ErrorInStream,
            "error-first" => Self::ErrorFirst,
            "error-in-200" => Self::ErrorIn200,
            "html" => Self::Html,
            "invalid-json" => Self::InvalidJson,
            "endless" => Self::Endless,
            "redirect" => Self::Redirect,
            "echo-key" => Self::EchoKey,
            other => Self::Status(other.strip_prefix("status-")?.parse().ok()?),
        })
    }
}
