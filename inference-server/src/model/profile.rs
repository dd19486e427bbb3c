//! Where a step's time goes: spans around the steps of [`super::pass`]. Off, a span costs one branch.

use std::time::{Duration, Instant};

/// What a span is of. Operations of all layers are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Rows of the embedding table.
    Embed,
    /// Normalisations, with the rounding of what products read.
    Normalize,
    /// Products to queries, keys and values.
    Projections,
    /// Rotation, and keys and values into the cache.
    Store,
    /// Attention itself.
    Attention,
    /// The product of what was attended, with its rounding.
    AttentionOutput,
    /// Products to gate and up.
    GateUp,
    /// The activation, with the rounding of its result.
    Gate,
    /// The product that ends a feed-forward part.
    Down,
    /// Routing and all experts' products.
    Experts,
    /// What LoRA adapters add to products.
    Adapters,
    /// The output matrix.
    Head,
}

impl Operation {
    /// Every operation, in the order of a step.
    pub const ALL: [Self; 12] = [
        Self::Embed,
        Self::Normalize,
        Self::Projections,
        Self::Store,
        Self::Attention,
        Self::AttentionOutput,
        Self::GateUp,
        Self::Gate,
        Self::Down,
        Self::Experts,
        Self::Adapters,
        Self::Head,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::Normalize => "normalize",
            Self::Projections => "qkv product",
            Self::Store => "rotate, store",
            Self::Attention => "attention",
            Self::AttentionOutput => "output product",
            Self::GateUp => "gate, up product",
            Self::Gate => "activation",
            Self::Down => "down product",
            Self::Experts => "experts",
            Self::Adapters => "adapters",
            Self::Head => "head product",
        }
    }
}

/// What an operation had to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes of weights, or of keys and values, that it read.
    pub bytes: u64,
    /// Multiplications of weights.
    pub multiplications: u64,
}

/// All spans of one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// How many.
    pub count: u64,
    /// Their time together.
    pub time: Duration,
    /// Their work together.
    pub work: Work,
}

/// Spans by operation, while it is on.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    spans: Option<Box<[Span; Operation::ALL.len()]>>,
}

impl Profile {
    /// Begins anew, from nothing.
    pub fn start(&mut self) {
        self.spans = Some(Box::default());
    }

    /// Ends it: each operation that was there, in the order of a step.
    pub fn take(&mut self) -> Vec<(Operation, Span)> {
        let spans = self.spans.take().unwrap_or_default();
        Operation::ALL.into_iter().zip(*spans).filter(|(_, span)| span.count > 0).collect()
    }

    /// When a span begins; `None` while off.
    pub(super) fn begin(&self) -> Option<Instant> {
        self.spans.as_ref().map(|_| Instant::now())
    }

    /// Ends the span that began at `began`.
    pub(super) fn end(&mut self, operation: Operation, began: Option<Instant>, work: impl FnOnce() -> Work) {
        let (Some(began), Some(spans)) = (began, &mut self.spans) else { return };
        let time = began.elapsed();
        let Some(span) = spans.get_mut(operation as usize) else { return };
        let Work { bytes, multiplications } = work();
        span.count += 1;
        span.time += time;
        span.work.bytes += bytes;
        span.work.multiplications += multiplications;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_kept_while_it_is_on() {
        let mut profile = Profile::default();
        let work = || Work { bytes: 3, multiplications: 5 };
        let began = profile.begin();
        profile.end(Operation::Head, began, || unreachable!("off, nothing is worked out"));
        assert_eq!(profile.take(), []);
        profile.start();
        for operation in [Operation::Head, Operation::Embed, Operation::Head] {
            let began = profile.begin();
            profile.end(operation, began, work);
        }
        let spans = profile.take();
        let found: Vec<_> = spans.iter().map(|(operation, span)| (*operation, span.count)).collect();
        assert_eq!(found, [(Operation::Embed, 1), (Operation::Head, 2)]);
        assert_eq!(spans[1].1.work, Work { bytes: 6, multiplications: 10 });
        assert_eq!(profile.take(), []);
    }
}
