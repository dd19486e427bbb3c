//! What callers call a field: an error must name the field as the one who sent it knows it.

use super::Dialect;

/// A field of [`super::Request`] that a dialect may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// Instructions.
    System,
    /// The tools.
    Tools,
    /// Which tool to call.
    ToolChoice,
    /// Several calls in one answer.
    ParallelToolCalls,
    /// Most tokens to write.
    MaxOutputTokens,
    /// Sampling temperature.
    Temperature,
    /// Nucleus sampling.
    TopP,
    /// Sampling from the k likeliest.
    TopK,
    /// Repeatable sampling.
    Seed,
    /// Strings that end the answer.
    Stop,
    /// Presence penalty.
    PresencePenalty,
    /// Frequency penalty.
    FrequencyPenalty,
    /// How many answers.
    Choices,
    /// Log probabilities.
    Logprobs,
    /// Structured output.
    OutputFormat,
    /// Thinking: whether and how much.
    Thinking,
    /// Whether thinking is shown.
    ThinkingShown,
    /// How long answers are.
    Verbosity,
    /// Who the end user is.
    User,
    /// Labels.
    Metadata,
}

impl Field {
    /// Those that a dialect's name is the name of: not instructions, which stand among the messages in some. Of two with
    /// one name in a dialect, the first is the one that is meant.
    const NAMED: [Self; 19] = [
        Self::Tools,
        Self::ToolChoice,
        Self::ParallelToolCalls,
        Self::MaxOutputTokens,
        Self::Temperature,
        Self::TopP,
        Self::TopK,
        Self::Seed,
        Self::Stop,
        Self::PresencePenalty,
        Self::FrequencyPenalty,
        Self::Choices,
        Self::Logprobs,
        Self::OutputFormat,
        Self::Thinking,
        Self::ThinkingShown,
        Self::Verbosity,
        Self::User,
        Self::Metadata,
    ];

    /// The field that `dialect` calls `name`, whole.
    pub fn named(dialect: Dialect, name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|field| field.name(dialect) == name)
    }

    /// The field's name in `dialect`; where it has none, the name that its neighbours use.
    pub fn name(self, dialect: Dialect) -> &'static str {
        let [chat, completions, responses, anthropic, gemini] = self.names();
        match dialect {
            Dialect::OpenAiChat => chat,
            Dialect::OpenAiCompletions => completions,
            Dialect::OpenAiResponses => responses,
            Dialect::Anthropic => anthropic,
            Dialect::Gemini => gemini,
        }
    }

    #[rustfmt::skip]
    fn names(self) -> [&'static str; 5] {
        match self {
            Self::System => ["messages", "prompt", "instructions", "system", "systemInstruction"],
            Self::Tools => ["tools", "tools", "tools", "tools", "tools"],
            Self::ToolChoice => ["tool_choice", "tool_choice", "tool_choice", "tool_choice", "toolConfig.functionCallingConfig"],
            Self::ParallelToolCalls => ["parallel_tool_calls", "parallel_tool_calls", "parallel_tool_calls", "tool_choice.disable_parallel_tool_use", "toolConfig"],
            Self::MaxOutputTokens => ["max_completion_tokens", "max_tokens", "max_output_tokens", "max_tokens", "generationConfig.maxOutputTokens"],
            Self::Temperature => ["temperature", "temperature", "temperature", "temperature", "generationConfig.temperature"],
            Self::TopP => ["top_p", "top_p", "top_p", "top_p", "generationConfig.topP"],
            Self::TopK => ["top_k", "top_k", "top_k", "top_k", "generationConfig.topK"],
            Self::Seed => ["seed", "seed", "seed", "seed", "generationConfig.seed"],
            Self::Stop => ["stop", "stop", "stop", "stop_sequences", "generationConfig.stopSequences"],
            Self::PresencePenalty => ["presence_penalty", "presence_penalty", "presence_penalty", "presence_penalty", "generationConfig.presencePenalty"],
            Self::FrequencyPenalty => ["frequency_penalty", "frequency_penalty", "frequency_penalty", "frequency_penalty", "generationConfig.frequencyPenalty"],
            Self::Choices => ["n", "n", "n", "n", "generationConfig.candidateCount"],
            Self::Logprobs => ["logprobs", "logprobs", "top_logprobs", "logprobs", "generationConfig.responseLogprobs"],
            Self::OutputFormat => ["response_format", "response_format", "text.format", "output_config.format", "generationConfig.responseJsonSchema"],
            Self::Thinking => ["reasoning_effort", "reasoning_effort", "reasoning.effort", "thinking", "generationConfig.thinkingConfig"],
            Self::ThinkingShown => ["reasoning_effort", "reasoning_effort", "reasoning.summary", "thinking.display", "generationConfig.thinkingConfig.includeThoughts"],
            Self::Verbosity => ["verbosity", "verbosity", "text.verbosity", "verbosity", "verbosity"],
            Self::User => ["user", "user", "user", "metadata.user_id", "user"],
            Self::Metadata => ["metadata", "metadata", "metadata", "metadata", "labels"],
        }
    }
}

/// Where something stands in the caller's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The instructions.
    System,
    /// Tool `0`, counted from 0.
    Tool(usize),
    /// A message of the conversation.
    Message(u32),
    /// A part of a message.
    Part {
        /// The message, [`super::Turn::place`].
        message: u32,
        /// The part, from 0.
        part: usize,
    },
    /// A part of an answer.
    Answer {
        /// Which answer, from 0.
        choice: u32,
        /// The part, from 0.
        part: usize,
    },
}

impl Place {
    /// The path in `dialect`, such as `messages[2].content[0]`.
    pub fn path(self, dialect: Dialect) -> String {
        let (list, parts) = match dialect {
            Dialect::OpenAiChat | Dialect::Anthropic => ("messages", "content"),
            Dialect::OpenAiCompletions => ("prompt", "content"),
            Dialect::OpenAiResponses => ("input", "content"),
            Dialect::Gemini => ("contents", "parts"),
        };
        match self {
            Self::System => Field::System.name(dialect).to_owned(),
            Self::Tool(index) => match dialect {
                Dialect::OpenAiChat
                | Dialect::OpenAiCompletions
                | Dialect::OpenAiResponses
                | Dialect::Anthropic => format!("tools[{index}]"),
                Dialect::Gemini => format!("tools.functionDeclarations[{index}]"),
            },
            Self::Message(message) => format!("{list}[{message}]"),
            Self::Part { message, part } => format!("{list}[{message}].{parts}[{part}]"),
            Self::Answer { choice, part } => match dialect {
                Dialect::OpenAiChat => format!("choices[{choice}].message.content[{part}]"),
                Dialect::OpenAiCompletions => format!("choices[{choice}].text"),
                Dialect::OpenAiResponses => format!("output[{part}]"),
                Dialect::Anthropic => format!("content[{part}]"),
                Dialect::Gemini => format!("candidates[{choice}].content.parts[{part}]"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_name_in_a_dialect() {
        assert_eq!(Field::named(Dialect::OpenAiChat, "response_format"), Some(Field::OutputFormat));
        assert_eq!(Field::named(Dialect::OpenAiChat, "reasoning_effort"), Some(Field::Thinking));
        assert_eq!(Field::named(Dialect::Anthropic, "response_format"), None);
        assert_eq!(Field::named(Dialect::OpenAiChat, "messages"), None);
    }

    #[test]
    fn a_field_has_the_callers_name() {
        assert_eq!(Field::TopK.name(Dialect::Gemini), "generationConfig.topK");
        assert_eq!(Field::Stop.name(Dialect::Anthropic), "stop_sequences");
        let part = Place::Part { message: 2, part: 1 };
        assert_eq!(part.path(Dialect::OpenAiChat), "messages[2].content[1]");
        assert_eq!(part.path(Dialect::Gemini), "contents[2].parts[1]");
        assert_eq!(part.path(Dialect::OpenAiResponses), "input[2].content[1]");
    }
}
