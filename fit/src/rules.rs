//! The numbers that an engine reserves memory by.

/// Positions of a block of keys and values.
pub const BLOCK_TOKENS: u64 = 16;

/// The longest context taken from a model without being asked for it: some claim millions, and KV memory
/// for that is seldom meant.
pub const DEFAULT_CONTEXT: u64 = 8192;

/// Sequences computed at once, where nothing else is said.
pub const DEFAULT_SEQUENCES: u64 = 16;

/// Tokens of KV memory for each sequence beyond the first, where an engine shares its device and was told no size.
const TOKENS_PER_FURTHER_SEQUENCE: u64 = 512;

/// What is left of a card: recordings, and the driver's own.
const RESERVE: u64 = 256 << 20;

/// The same where a model is to sleep: those that have the card meanwhile keep a context, kernels and room for products
/// when they sleep in turn, half a gigabyte each.
const SHARED_RESERVE: u64 = 2 << 30;

/// Bytes of stored rows that are on their way to a card at once, where it has room for it.
const STAGING: u64 = 32 << 20;

/// What the driver takes of a card before an engine asks how much is free: its context and loaded kernels.
pub const DRIVER: u64 = 512 << 20;

/// What an engine's process takes of memory beside what it plans: code, tokenizer, buffers of connections.
pub const PROCESS: u64 = 128 << 20;

/// Blocks that hold `tokens` positions.
pub const fn blocks_for(tokens: u64) -> u64 {
    tokens.div_ceil(BLOCK_TOKENS)
}

/// Tokens of KV memory where an engine was told no size and gets no whole card, for `sequences` with a context of
/// `context`.
pub fn kv_tokens(context: u64, sequences: u64) -> u64 {
    let further = sequences.saturating_sub(1);
    context.saturating_add(further.saturating_mul(TOKENS_PER_FURTHER_SEQUENCE.min(context)))
}

/// What is left of a card with `free` bytes.
pub fn card_reserve(free: u64, sleeps: bool) -> u64 {
    if sleeps { SHARED_RESERVE.min(free / 8) } else { RESERVE.min(free / 16) }
}

/// Bytes that loading takes for a while on a card with `free` bytes.
pub fn staging(free: u64) -> u64 {
    STAGING.min(free / 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_sequences_get_half_a_thousand_tokens_each_or_a_short_context() {
        assert_eq!(kv_tokens(8192, 1), 8192);
        assert_eq!(kv_tokens(8192, 3), 8192 + 1024);
        assert_eq!(kv_tokens(100, 3), 300);
        assert_eq!(kv_tokens(8192, 0), 8192);
        assert_eq!(kv_tokens(u64::MAX, 2), u64::MAX);
    }

    #[test]
    fn a_small_card_is_not_reserved_whole() {
        assert_eq!((card_reserve(80 << 30, false), card_reserve(80 << 30, true)), (RESERVE, SHARED_RESERVE));
        assert_eq!((card_reserve(160, false), card_reserve(160, true), staging(160)), (10, 20, 10));
    }

    #[test]
    fn a_block_that_is_begun_counts() {
        assert_eq!([0, 1, 16, 17].map(blocks_for), [0, 1, 1, 2]);
    }
}
