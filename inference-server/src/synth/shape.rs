//! Dimensions, by name and one by one.

use super::{Family, Rope};

/// The dimensions of a model. Each field is a flag of `weighbridge synth`.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub embedding: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head; even.
    pub head: usize,
    /// Width of the feed-forward part.
    pub feed_forward: usize,
    /// Tokens.
    pub vocabulary: usize,
    /// Longest context.
    pub context: usize,
    /// Experts of a mixture; 0 in others.
    pub experts: usize,
    /// Experts that a token is sent to.
    pub experts_used: usize,
    /// Width of one expert.
    pub expert_feed_forward: usize,
    /// Tokens that layers with a window see.
    pub window: Option<usize>,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// Scaling of the rotary frequencies.
    pub rope: Rope,
    /// True without an output matrix of its own.
    pub tied: bool,
}

/// Names of shapes, and what they are.
pub const SHAPES: [(&str, &str); 4] = [
    ("tiny", "2 layers of 256: every type fits, and a test loads it in milliseconds"),
    ("minilm", "6 layers of 384: all-MiniLM-L6"),
    ("1.1b", "16 layers of 2048: a Llama of 1.09 billion parameters"),
    ("8b", "32 layers of 4096: Llama 3 8B"),
];

impl Shape {
    /// The shape called `name`, as `family` has it.
    pub fn named(name: &str, family: Family) -> Option<Self> {
        let [layers, embedding, heads, kv_heads, feed_forward, vocabulary, context, window] = match name {
            "tiny" => [2, 256, 8, 2, 512, 512, 512, 32],
            "minilm" => [6, 384, 12, 12, 1536, 30522, 512, 128],
            "1.1b" => [16, 2048, 32, 4, 8192, 32000, 16384, 4096],
            "8b" => [32, 4096, 32, 8, 14336, 128_256, 8192, 4096],
            _ => return None,
        };
        let (experts, experts_used) = if family.is_mixture() { (8, 2) } else { (0, 0) };
        Some(Self {
            layers,
            embedding,
            heads,
            // Encoders have as many of one as of the other.
            kv_heads: if family.is_encoder() { heads } else { kv_heads },
            head: embedding / heads,
            feed_forward,
            vocabulary,
            context: if family.is_encoder() { context.min(512) } else { context },
            experts,
            experts_used,
            expert_feed_forward: if family.is_mixture() { feed_forward } else { 0 },
            window: (family.has_window() && family != Family::Phi3).then_some(window),
            rope_base: match (name, family) {
                ("8b", Family::Llama) => 500_000.0,
                _ => family.rope_base(),
            },
            rope: Rope::None,
            tied: family.is_gemma(),
        })
    }

    /// Elements of a token's queries.
    pub(super) fn query_width(&self) -> usize {
        self.heads * self.head
    }

    /// Elements of a token's keys, and of its values.
    pub(super) fn kv_width(&self) -> usize {
        self.kv_heads * self.head
    }
}
