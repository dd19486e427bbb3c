//! The tokens that can still be drawn, with their weights.

/// Weights below e^-30 of the greatest are dropped at once: all of a vocabulary of them together is less
/// than an `f32` sum can hold, and most of a vocabulary is down there.
const NEGLIGIBLE: f32 = -30.0;

/// Lanes of the search for the greatest logit: one loop-carried comparison a lane, not a value.
const LANES: usize = 16;

/// The greatest finite logit of a row; `None` when there is none.
pub(super) fn greatest(logits: &[f32]) -> Option<f32> {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, logit) in lanes.iter_mut().zip(chunk) {
            // Not `max`: this is one instruction, and a NaN never wins it.
            *lane = if *logit > *lane { *logit } else { *lane };
        }
    }
    let most =
        lanes.iter().chain(rest).copied().filter(|logit| !logit.is_nan()).fold(f32::NEG_INFINITY, f32::max);
    if most == f32::INFINITY {
        return logits.iter().copied().filter(|logit| logit.is_finite()).reduce(f32::max);
    }
    most.is_finite().then_some(most)
}

#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Token and weight. The weight is a logarithm until [`Candidates::weigh`]; the greatest is then 1.
    list: Vec<(u32, f32)>,
}

impl Candidates {
    /// Starts with every token of a row that has at least `min_p` of the likeliest one's weight. `None`
    /// when no logit is finite.
    pub(super) fn fill(&mut self, logits: &[f32], temperature: f32, min_p: f32) -> Option<()> {
        let most = greatest(logits)?;
        let least = if min_p > 0.0 { min_p.ln().max(NEGLIGIBLE) } else { NEGLIGIBLE };
        self.list.clear();
        self.list.extend((0..).zip(logits).filter_map(|(id, logit)| {
            let exponent = (logit - most) / temperature;
            // Not `<`: a NaN must not pass.
            (exponent >= least && logit.is_finite()).then_some((id, exponent))
        }));
        Some(())
    }

    /// Keeps the `top_k` likeliest; all when 0.
    pub(super) fn keep_top_k(&mut self, top_k: usize) {
        if top_k > 0 && top_k < self.list.len() {
            self.select(top_k);
            self.list.truncate(top_k);
        }
    }

    /// Turns logarithms into weights: once few are left, for an exponential is what costs.
    pub(super) fn weigh(&mut self) {
        for (_, weight) in &mut self.list {
            *weight = weight.exp();
        }
    }

    /// Keeps the shortest run of likeliest tokens that reaches `top_p` of the weight; at least one.
    pub(super) fn keep_top_p(&mut self, top_p: f32) {
        if top_p >= 1.0 {
            return;
        }
        let wanted = self.total() * f64::from(top_p);
        // Few tokens hold most of the weight: sort the top only, and more of it while that is not enough.
        let mut sorted = 64;
        loop {
            let count = sorted.min(self.list.len());
            self.select(count);
            self.list[..count].sort_unstable_by(heaviest_first);
            let mut sum = 0.0;
            let reached = self.list[..count].iter().position(|(_, weight)| {
                sum += f64::from(*weight);
                sum >= wanted
            });
            match reached {
                Some(last) => return self.list.truncate(last + 1),
                None if count == self.list.len() => return,
                None => sorted *= 8,
            }
        }
    }

    /// The token at `at` (`0 .. 1`) of the total weight.
    pub(super) fn draw(&self, at: f64) -> Option<u32> {
        let mut rest = at * self.total();
        for (id, weight) in &self.list {
            rest -= f64::from(*weight);
            if rest < 0.0 {
                return Some(*id);
            }
        }
        // Rounding can leave a sliver after the last.
        self.list.last().map(|(id, _)| *id)
    }

    fn total(&self) -> f64 {
        self.list.iter().map(|(_, weight)| f64::from(*weight)).sum()
    }

    /// Brings the `count` heaviest to the front, in any order.
    fn select(&mut self, count: usize) {
        if count < self.list.len() {
            self.list.select_nth_unstable_by(count, heaviest_first);
        }
    }
}

/// Heaviest first, and of equals the lowest id, so that the order never depends on the selection.
fn heaviest_first(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}
