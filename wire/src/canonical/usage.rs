//! Token counts, split so that nothing is counted twice, and each provider's convention for its totals.

/// What a request used, in tokens. The first six never overlap; [`Usage::audio`] and [`Usage::images`] say which of
/// them were sound or image, and are part of no sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Read, neither from a cache nor into one.
    pub input_uncached: u64,
    /// Read from a cache.
    pub cache_read: u64,
    /// Read and written to a cache for five minutes, or for a time that the provider does not say.
    pub cache_write_5m: u64,
    /// Read and written to a cache for an hour.
    pub cache_write_1h: u64,
    /// Written and shown.
    pub output_visible: u64,
    /// Written as thinking.
    pub reasoning: u64,
    /// Which of them were sound.
    pub audio: Directions,
    /// Which of them were image.
    pub images: Directions,
    /// Predicted output that the model took; part of the output.
    pub prediction_accepted: u64,
    /// Predicted output that it did not take; part of the output, and paid.
    pub prediction_rejected: u64,
}

/// A count each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directions {
    /// Of the tokens read.
    pub input: u64,
    /// Of the tokens written.
    pub output: u64,
}

impl Usage {
    /// All tokens read.
    pub fn input(&self) -> u64 {
        self.input_uncached
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write_5m)
            .saturating_add(self.cache_write_1h)
    }

    /// All tokens written.
    pub fn output(&self) -> u64 {
        self.output_visible.saturating_add(self.reasoning)
    }

    /// All tokens.
    pub fn total(&self) -> u64 {
        self.input().saturating_add(self.output())
    }
}

/// How a provider's two main figures relate to the details beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// Input includes what was cached; output includes reasoning.
    OpenAi,
    /// Input excludes what was read from and written to a cache; output includes thinking.
    Anthropic,
    /// Input includes what was read from a cache; output excludes thoughts.
    Gemini,
}

/// The figures as a provider writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// `prompt_tokens`, `input_tokens` or `promptTokenCount` (with `toolUsePromptTokenCount` added).
    pub input: u64,
    /// From a cache.
    pub cache_read: u64,
    /// Into a cache, for five minutes or an unknown time.
    pub cache_write_5m: u64,
    /// Into a cache, for an hour.
    pub cache_write_1h: u64,
    /// `completion_tokens`, `output_tokens` or `candidatesTokenCount`.
    pub output: u64,
    /// The thinking, where the provider tells it apart.
    pub reasoning: u64,
}

impl Convention {
    /// The canonical counts. Figures that contradict one another (more cached than read) never come to less than
    /// the details say.
    pub fn read(self, reported: Reported) -> Usage {
        let Reported { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning } = reported;
        let cached = cache_read.saturating_add(cache_write_5m).saturating_add(cache_write_1h);
        let (input_uncached, output_visible) = match self {
            Self::OpenAi => (input.saturating_sub(cached), output.saturating_sub(reasoning)),
            Self::Anthropic => (input, output.saturating_sub(reasoning)),
            Self::Gemini => (input.saturating_sub(cached), output),
        };
        Usage {
            input_uncached,
            cache_read,
            cache_write_5m,
            cache_write_1h,
            output_visible,
            reasoning,
            ..Usage::default()
        }
    }

    /// The figures as this provider would write them.
    pub fn write(self, usage: &Usage) -> Reported {
        let (input, output) = match self {
            Self::OpenAi => (usage.input(), usage.output()),
            Self::Anthropic => (usage.input_uncached, usage.output()),
            Self::Gemini => (usage.input(), usage.output_visible),
        };
        Reported {
            input,
            cache_read: usage.cache_read,
            cache_write_5m: usage.cache_write_5m,
            cache_write_1h: usage.cache_write_1h,
            output,
            reasoning: usage.reasoning,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Convention; 3] = [Convention::OpenAi, Convention::Anthropic, Convention::Gemini];

    #[test]
    fn the_same_request_by_three_conventions() {
        let usage = Usage {
            input_uncached: 10,
            cache_read: 200,
            cache_write_5m: 30,
            cache_write_1h: 4,
            output_visible: 50,
            reasoning: 6,
            ..Usage::default()
        };
        let figures = |convention: Convention| {
            let reported = convention.write(&usage);
            (reported.input, reported.output)
        };
        assert_eq!(figures(Convention::OpenAi), (244, 56));
        assert_eq!(figures(Convention::Anthropic), (10, 56));
        assert_eq!(figures(Convention::Gemini), (244, 50));
        assert_eq!((usage.input(), usage.output(), usage.total()), (244, 56, 300));
    }

    #[test]
    fn contradicting_figures_do_not_wrap() {
        let reported = Reported { input: 5, cache_read: 9, output: 1, reasoning: 3, ..Reported::default() };
        for convention in ALL {
            let usage = convention.read(reported);
            assert!(usage.input() >= 9 && usage.output() >= 3, "{usage:?}");
            assert!(usage.input() < 100 && usage.output() < 100, "{usage:?}");
        }
    }

    fn any_usage() -> impl Strategy<Value = Usage> {
        [0..1u64 << 40, 0..1 << 40, 0..1 << 40, 0..1 << 40, 0..1 << 40, 0..1 << 40].prop_map(
            |[input_uncached, cache_read, cache_write_5m, cache_write_1h, output_visible, reasoning]| Usage {
                input_uncached,
                cache_read,
                cache_write_5m,
                cache_write_1h,
                output_visible,
                reasoning,
                ..Usage::default()
            },
        )
    }

    proptest! {
        #[test]
        fn every_convention_reads_what_it_writes(usage in any_usage()) {
            for convention in ALL {
                prop_assert_eq!(convention.read(convention.write(&usage)), usage);
            }
        }

        /// However a total is written, input and output come to the same sums: nothing is charged twice.
        #[test]
        fn sums_agree_across_conventions(usage in any_usage()) {
            let openai = Convention::OpenAi.write(&usage);
            let anthropic = Convention::Anthropic.write(&usage);
            let gemini = Convention::Gemini.write(&usage);
            let cached = anthropic.cache_read + anthropic.cache_write_5m + anthropic.cache_write_1h;
            prop_assert_eq!(openai.input, anthropic.input + cached);
            prop_assert_eq!(openai.input, gemini.input);
            prop_assert_eq!(openai.output, anthropic.output);
            prop_assert_eq!(openai.output, gemini.output + gemini.reasoning);
            prop_assert_eq!(openai.input + openai.output, usage.total());
        }
    }
}
