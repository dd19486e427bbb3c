//! The tokens that can still be drawn, with their weights.

/// Weights below e^-30 of the greatest are dropped at once: all of a vocabulary of them together is less
/// than an `f32` sum can hold, and most of a vocabulary is down there.
const NEGLIGIBLE: f32 = -30.0;

#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Token and weight; the greatest weight is 1.
    list: Vec<(u32, f32)>,
}

impl Candidates {
    /// Starts with every token of a row. `None` when no logit is finite.
    pub(super) fn fill(&mut self, logits: &[f32], temperature: f32) -> Option<()> {
        let most = logits.iter().copied().filter(|logit| logit.is_finite()).reduce(f32::max)?;
        self.list.clear();
        self.list.extend((0..).zip(logits).filter_map(|(id, logit)| {
            let exponent = (logit - most) / temperature;
            // Not `<`: a NaN must not pass.
            (exponent >= NEGLIGIBLE && logit.is_finite()).then(|| (id, exponent.exp()))
        }));
        Some(())
    }

    pub(super) fn keep_min_p(&mut self, min_p: f32) {
        if min_p > 0.0 {
            self.list.retain(|(_, weight)| *weight >= min_p);
        }
    }

    pub(super) fn keep_top_k(&mut self, top_k: usize) {
        if top_k > 0 && top_k < self.list.len() {
            self.select(top_k);
            self.list.truncate(top_k);
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
