/// What a device holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Weights, norms and biases included.
    pub weights: u64,
    /// LoRA adapters.
    pub adapters: u64,
    /// Keys and values.
    pub kv: u64,
    /// Between operations, and what steps are told.
    pub scratch: u64,
    /// What is left to others: on a card to the driver, for graphs and memory that is not in whole pages.
    pub reserve: u64,
}

impl MemoryPlan {
    /// All of it.
    pub fn total(&self) -> u64 {
        let Self { weights, adapters, kv, scratch, reserve } = *self;
        [adapters, kv, scratch, reserve].into_iter().fold(weights, u64::saturating_add)
    }

    /// The sum, for a log or a refusal: `weights 3.0 MiB + KV 2.0 MiB + scratch 1.0 MiB = 6.0 MiB`. Adapters and a reserve
    /// are left out where there are none.
    pub fn in_words(&self) -> String {
        let Self { weights, adapters, kv, scratch, reserve } = *self;
        let part = |name: &str, bytes: u64| format!("{name} {}", mebibytes(bytes));
        let optional = |name, bytes: u64| (bytes > 0).then(|| part(name, bytes));
        let parts = [
            Some(part("weights", weights)),
            optional("adapters", adapters),
            Some(part("KV", kv)),
            Some(part("scratch", scratch)),
            optional("reserve", reserve),
        ];
        let sum = parts.into_iter().flatten().collect::<Vec<_>>().join(" + ");
        format!("{sum} = {}", mebibytes(self.total()))
    }
}

/// A size, in the words that engines' logs have.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_said_without_what_is_not_there() {
        let plan = MemoryPlan { weights: 3 << 20, kv: 2 << 20, scratch: 1 << 20, ..MemoryPlan::default() };
        assert_eq!(plan.in_words(), "weights 3.0 MiB + KV 2.0 MiB + scratch 1.0 MiB = 6.0 MiB");
        let plan = MemoryPlan { adapters: 1 << 20, scratch: 0, reserve: 1 << 20, ..plan };
        assert_eq!(
            plan.in_words(),
            "weights 3.0 MiB + adapters 1.0 MiB + KV 2.0 MiB + scratch 0.0 MiB + reserve 1.0 MiB = 7.0 MiB"
        );
    }

    #[test]
    fn sums_do_not_wrap() {
        let plan = MemoryPlan { weights: u64::MAX, kv: u64::MAX, scratch: 1, ..MemoryPlan::default() };
        assert_eq!(plan.total(), u64::MAX);
    }
}
