//! BPE: words by regular expression, bytes as characters or as a last resort, merges by rank.

use fancy_regex::{Regex, RegexBuilder};
use tokenizers::Model as _;
use tokenizers::models::bpe::{BPE, Vocab};

use super::pre_tokenizer::Rules;
use super::spm::SPACE;
use super::{TokenizerError, TokenizerMetadata, byte_level};

/// Steps that a splitting expression may backtrack on one text. Runs of white space cost a step a
/// character, so this admits 10 MB of blanks and stops anything that grows faster.
const BACKTRACK_LIMIT: usize = 10_000_000;

/// Words kept with their tokens, a thread: enough for the frequent ones, 1 MB or so.
const CACHED_WORDS: usize = 10_000;

#[derive(Debug)]
pub(super) struct Bpe {
    words: Vec<Regex>,
    spaced: bool,
    model: BPE,
}

impl Bpe {
    pub(super) fn new(metadata: &TokenizerMetadata, rules: Rules) -> Result<Self, TokenizerError> {
        let vocabulary: Vocab = metadata.tokens.iter().cloned().zip(0..).collect();
        let merges = metadata.merges.iter().map(|merge| parse_merge(merge, &vocabulary));
        let merges = merges.collect::<Result<Vec<_>, _>>()?;
        let model = BPE::builder()
            .vocab_and_merges(vocabulary, merges)
            .ignore_merges(rules.ignore_merges)
            .byte_fallback(rules.spaced)
            .cache_capacity(CACHED_WORDS)
            .build()
            .map_err(|error| bad_merges(error.to_string()))?;
        let compile = |pattern: &&str| RegexBuilder::new(pattern).backtrack_limit(BACKTRACK_LIMIT).build();
        let words = rules.patterns.iter().map(compile).collect::<Result<_, _>>();
        let words = words.map_err(|error| TokenizerError::Text(error.to_string()))?;
        Ok(Self { words, spaced: rules.spaced, model })
    }

    /// Appends the ids of `text`, which holds no special token.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let mut pieces = vec![text];
        for pattern in &self.words {
            pieces = split(pattern, &pieces)?;
        }
        let mut word = String::new();
        for piece in pieces {
            word.clear();
            match self.spaced {
                true => word.push_str(&piece.replace(' ', SPACE)),
                false => byte_level::encode(piece, &mut word),
            }
            // Merges do not reach every run of line breaks that is a token.
            if let Some(id) = self.model.token_to_id(&word).filter(|_| self.spaced && word.starts_with('\n'))
            {
                ids.push(id);
                continue;
            }
            let tokens =
                self.model.tokenize(&word).map_err(|error| TokenizerError::Text(error.to_string()))?;
            ids.extend(tokens.iter().map(|token| token.id));
        }
        Ok(())
    }
}

/// Cuts every piece at the bounds of every match; what lies between matches is a piece too.
fn split<'t>(pattern: &Regex, pieces: &[&'t str]) -> Result<Vec<&'t str>, TokenizerError> {
    let mut cut = Vec::with_capacity(pieces.len() * 2);
    for piece in pieces {
        let mut from = 0;
        for found in pattern.find_iter(piece) {
            let found = found.map_err(|error| TokenizerError::Text(error.to_string()))?;
            cut.extend([&piece[from..found.start()], &piece[found.start()..found.end()]]);
            from = found.end();
        }
        cut.push(&piece[from..]);
    }
    cut.retain(|piece| !piece.is_empty());
    Ok(cut)
}

/// Checked here because the model's own builder indexes before it looks.
fn parse_merge(merge: &str, vocabulary: &Vocab) -> Result<(String, String), TokenizerError> {
    // The left side may itself begin with a space in files that do not use GPT-2's alphabet.
    let bound = merge.char_indices().skip(1).find(|(_, character)| *character == ' ');
    let Some((left, right)) = bound.map(|(at, _)| (&merge[..at], &merge[at + 1..])) else {
        return Err(bad_merges(format!("{merge:?} is not a pair")));
    };
    let joined = [left, right].concat();
    match [left, right, &joined].into_iter().find(|part| !vocabulary.contains_key(*part)) {
        Some(part) => Err(bad_merges(format!("{merge:?} needs the token {part:?}, which is not there"))),
        None => Ok((left.to_owned(), right.to_owned())),
    }
}

fn bad_merges(problem: String) -> TokenizerError {
    TokenizerError::Metadata { key: "tokenizer.ggml.merges", problem }
}
