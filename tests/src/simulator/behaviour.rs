//! What a request's `model` asks for.

/// Seconds that a hint of a limit tells to wait.
pub const HINT_SECONDS: u64 = 7;
/// Milliseconds that `limited-retry-after-ms` tells to wait: real clients do wait.
pub const HINT_MILLISECONDS: u64 = 20;

/// What the simulator does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// `faithful`: what the provider itself would answer, its checks of the request included.
    Faithful,
    /// `cached`: the same, half of whose prompt was read from the provider's cache.
    Cached,
    /// `compatible`: the same, as a server that imitates OpenAI has it: chat shows what was thought.
    Compatible,
    /// `normal`: a right answer, streamed if asked; in chat and completions with odd bytes.
    Normal,
    /// `gated`: the same, each event only when the test releases it.
    Gated,
    /// `told`: as `gated`, with the prompt's tokens in the answer's head, where our engine says them.
    Told,
    /// `drip`: the same, each byte its own chunk.
    Drip,
    /// `slow-drip`: the same, each byte only when the test releases it.
    SlowDrip,
    /// `paced`: the same, 20 ms between events; for people, not for tests.
    Paced,
    /// `burst`: a stream of 100 chunks, all at once.
    Burst,
    /// `huge`: an answer of 16 MiB in one event.
    Huge,
    /// `no-usage`: a stream that ignores `include_usage`.
    NoUsage,
    /// `elsewhere`: an answer that says it was made `global`ly, wherever it was to be (Anthropic's `inference_geo`).
    Elsewhere,
    /// `elsewhere-late`: the same, said at a stream's end only.
    ElsewhereLate,
    /// `nowhere`: an answer that does not say where it was made.
    Nowhere,
    /// `blocked`: a prompt that the provider's filters refuse, in its own words.
    Blocked,
    /// `silent`: no answer until the test releases one.
    Silent,
    /// `stall`: a stream that stops after some text until the test releases it.
    Stall,
    /// `hang-up`: closes the connection without an answer.
    HangUp,
    /// `cut`: breaks the connection in mid-stream (or in mid-body).
    Cut,
    /// `truncated`: ends the stream cleanly, without its end mark.
    Truncated,
    /// `damaged`: a stream of AWS's one of whose frames was altered on the way; elsewhere as `invalid-json`.
    Damaged,
    /// `half-frame`: a stream of AWS's that ends within a frame; elsewhere as `truncated`.
    HalfFrame,
    /// `error-in-stream`: an error as an event, after some text.
    ErrorInStream,
    /// `error-first`: an error as the first event of a 200.
    ErrorFirst,
    /// `error-in-200`: a whole answer that is an error, with status 200.
    ErrorIn200,
    /// `html`: a page.
    Html,
    /// `wrong-type`: a right answer that says it is plain text.
    WrongType,
    /// `invalid-json`: half an object, or an event that is no JSON.
    InvalidJson,
    /// `endless`: a body, or an event, that never ends.
    Endless,
    /// `redirect`: 307 to another place.
    Redirect,
    /// `echo-key`: 400 that repeats the caller's key.
    EchoKey,
    /// `bad-key`: the provider's own answer to a key that it does not know.
    BadKey,
    /// `quota`: the account is used up, which no waiting helps.
    Quota,
    /// `limited-…`: 429, with one kind of hint when to come again.
    Limited(Hint),
    /// `status-NNN`: an error of this status in the dialect's shape; with `retry-after: 7` where it fits.
    Status(u16),
}

/// How a provider says when to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// `limited-no-hint`: not at all.
    None,
    /// `limited-retry-after`: seconds.
    Seconds,
    /// `limited-retry-after-long`: more seconds than clients obey.
    Long,
    /// `limited-retry-after-date`: an HTTP date.
    Date,
    /// `limited-retry-after-ms`: OpenAI's milliseconds.
    Milliseconds,
    /// `limited-openai-resets`: durations, of which the tokens' is the one that counts.
    OpenAiResets,
    /// `limited-anthropic-resets`: times of RFC 3339, of which the input tokens' is the one that counts.
    AnthropicResets,
    /// `limited-retry-info`: Google's `RetryInfo` in the body.
    RetryInfo,
}

impl Behaviour {
    /// Models that the list of models tells of.
    pub(super) const LISTED: [&'static str; 4] = ["faithful", "normal", "gated", "elsewhere"];

    /// By the name of a model; `None` where no behaviour is called so.
    pub fn named(model: &str) -> Option<Self> {
        Some(match model {
            "faithful" => Self::Faithful,
            "cached" => Self::Cached,
            "compatible" => Self::Compatible,
            "normal" => Self::Normal,
            "gated" => Self::Gated,
            "told" => Self::Told,
            "drip" => Self::Drip,
            "slow-drip" => Self::SlowDrip,
            "paced" => Self::Paced,
            "burst" => Self::Burst,
            "huge" => Self::Huge,
            "no-usage" => Self::NoUsage,
            "elsewhere" => Self::Elsewhere,
            "elsewhere-late" => Self::ElsewhereLate,
            "nowhere" => Self::Nowhere,
            "blocked" => Self::Blocked,
            "silent" => Self::Silent,
            "stall" => Self::Stall,
            "hang-up" => Self::HangUp,
            "cut" => Self::Cut,
            "truncated" => Self::Truncated,
            "damaged" => Self::Damaged,
            "half-frame" => Self::HalfFrame,
            "error-in-stream" => Self::ErrorInStream,
            "error-first" => Self::ErrorFirst,
            "error-in-200" => Self::ErrorIn200,
            "html" => Self::Html,
            "wrong-type" => Self::WrongType,
            "invalid-json" => Self::InvalidJson,
            "endless" => Self::Endless,
            "redirect" => Self::Redirect,
            "echo-key" => Self::EchoKey,
            "bad-key" => Self::BadKey,
            "quota" => Self::Quota,
            "limited-no-hint" => Self::Limited(Hint::None),
            "limited-retry-after" => Self::Limited(Hint::Seconds),
            "limited-retry-after-long" => Self::Limited(Hint::Long),
            "limited-retry-after-date" => Self::Limited(Hint::Date),
            "limited-retry-after-ms" => Self::Limited(Hint::Milliseconds),
            "limited-openai-resets" => Self::Limited(Hint::OpenAiResets),
            "limited-anthropic-resets" => Self::Limited(Hint::AnthropicResets),
            "limited-retry-info" => Self::Limited(Hint::RetryInfo),
            other => Self::Status(other.strip_prefix("status-")?.parse().ok()?),
        })
    }
}
