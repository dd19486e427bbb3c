//! Cutting special tokens out of a text before anything else reads it.
//!
//! Source: `tokenizer_st_partition` of llama.cpp's `src/llama-vocab.cpp`. The longest token is looked for
//! first, in the whole text, then the next in what is left: not the same as the leftmost longest match.

use super::{TokenType, TokenizerMetadata};

/// A piece of a text, cut at special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fragment<'t> {
    Text(&'t str),
    Token(u32),
}

#[derive(Debug)]
struct SpecialToken {
    id: u32,
    text: String,
    /// Only read as a token when the caller asked for it: a user must not be able to write `<|im_end|>`.
    guarded: bool,
    /// Swallows white space after it.
    strips_right: bool,
}

/// The special tokens, the longest first.
#[derive(Debug)]
pub(super) struct SpecialTokens(Vec<SpecialToken>);

impl SpecialTokens {
    pub(super) fn new(metadata: &TokenizerMetadata) -> Self {
        let name = metadata.name.as_deref().unwrap_or("").to_lowercase();
        let phi3 = name.contains("phi-3") || name.contains("phi3");
        let all = (0..).zip(&metadata.tokens).zip(&metadata.token_types);
        let mut tokens: Vec<_> = all
            .filter_map(|((id, text), token_type)| {
                let guarded = match token_type {
                    TokenType::Control | TokenType::Unknown => true,
                    TokenType::UserDefined => false,
                    _ => return None,
                };
                let strips_right = phi3 && !matches!(text.as_str(), "<unk>" | "<s>" | "<|endoftext|>");
                Some(SpecialToken { id, text: text.clone(), guarded, strips_right })
            })
            .collect();
        tokens.sort_by_key(|token| std::cmp::Reverse(token.text.len()));
        Self(tokens)
    }

    pub(super) fn split<'t>(&self, text: &'t str, parse_special: bool) -> Vec<Fragment<'t>> {
        let mut fragments = Vec::new();
        if text.is_empty() {
            return fragments;
        }
        fragments.push(Fragment::Text(text));
        for token in self.0.iter().filter(|token| parse_special || !token.guarded) {
            if fragments
                .iter()
                .any(|fragment| matches!(fragment, Fragment::Text(t) if t.contains(&token.text)))
            {
                fragments = token.cut(&fragments);
            }
        }
        fragments
    }
}

impl SpecialToken {
    fn cut<'t>(&self, fragments: &[Fragment<'t>]) -> Vec<Fragment<'t>> {
        let mut cut = Vec::with_capacity(fragments.len() + 2);
        for fragment in fragments {
            let Fragment::Text(mut rest) = *fragment else {
                cut.push(*fragment);
                continue;
            };
            while let Some((before, after)) = rest.split_once(&self.text) {
                if !before.is_empty() {
                    cut.push(Fragment::Text(before));
                }
                cut.push(Fragment::Token(self.id));
                rest = if self.strips_right { after.trim_start_matches(is_c_space) } else { after };
            }
            if !rest.is_empty() {
                cut.push(Fragment::Text(rest));
            }
        }
        cut
    }
}

/// C's `isspace`, which is what the reference strips by.
fn is_c_space(character: char) -> bool {
    matches!(character, ' ' | '\t'..='\r')
}
