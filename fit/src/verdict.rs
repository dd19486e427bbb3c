use crate::facts::{DeviceFacts, ModelFacts};
use crate::plan::MemoryPlan;
use crate::rules;

/// How many cards a model is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// So many.
    Count(u32),
    /// As few as hold it, and at most so many.
    Fewest {
        /// The most.
        most: u32,
    },
}

/// The cards that a model may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cards {
    /// Memory of each, in bytes.
    pub memory: u64,
    /// How many.
    pub asked: Asked,
    /// Whether the model gives a card back while nobody asks for it, so that others have it by turns.
    pub sleeps: bool,
}

/// Hardware that holds a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fits {
    /// Cards that share the model; 0 on the CPU.
    pub cards: u32,
    /// The arithmetic.
    pub words: String,
}

/// Why hardware does not hold a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// No such device computes it, however large.
    #[error("{0}")]
    Unserved(String),
    /// Its parts can't be shared out to as many cards.
    #[error("{0}")]
    NotShared(String),
    /// There is too little memory.
    #[error("{0}")]
    TooLarge(String),
}

/// How many cards hold the model of `facts`, with the arithmetic. Keys and values get what a card has left: it holds the model
/// from one whole context on, and as few as hold one of every sequence are preferred.
///
/// # Errors
/// [`Misfit`], with the arithmetic and with what would do.
pub fn on_cards(facts: &ModelFacts, cards: &Cards) -> Result<Fits, Misfit> {
    if let Some(why) = &facts.not_on_cards {
        return Err(Misfit::Unserved(format!(
            "no GPU computes it: {why}; name a profile without gpu, whose CPU serves it"
        )));
    }
    let need = |device| Need::new(facts, device, cards);
    let holds = |device: &DeviceFacts| Need::new(facts, device, cards).fits_one();
    match cards.asked {
        Asked::Count(count) => {
            let Some(device) = facts.card_of(count) else { return Err(not_shared(facts, count)) };
            if holds(device) {
                return Ok(need(device).fits());
            }
            let more = facts.cards().find(|other| other.cards > count && holds(other));
            Err(need(device).too_large(more.map(|other| other.cards)))
        }
        Asked::Fewest { most } => {
            let able = || facts.cards().filter(|device| device.cards <= most);
            let chosen =
                able().find(|device| need(device).fits_all()).or_else(|| able().find(|device| holds(device)));
            match (chosen, able().last()) {
                (Some(device), _) => Ok(need(device).fits()),
                (None, Some(largest)) => Err(need(largest).too_large(None)),
                (None, None) => Err(not_shared(facts, most)),
            }
        }
    }
}

/// Whether `memory` bytes beside a CPU hold the model of `facts`, with the arithmetic.
///
/// # Errors
/// [`Misfit`], with the arithmetic.
pub fn on_cpu(facts: &ModelFacts, memory: u64) -> Result<Fits, Misfit> {
    let Some(device) = facts.cpu() else {
        return Err(Misfit::Unserved("keys and values as fp8 are a GPU's: use q8_0 or f16".to_owned()));
    };
    let tokens = rules::kv_tokens(facts.context_length, facts.max_sequences);
    let plan = MemoryPlan {
        weights: device.weights,
        adapters: 0,
        kv: rules::blocks_for(tokens).saturating_mul(device.kv_block),
        scratch: device.scratch,
        reserve: rules::PROCESS,
    };
    let kept = format!("for {tokens} tokens");
    let need = format!("needs {}", parts(&plan, None, "process", if plan.kv > 0 { &kept } else { "" }));
    if plan.total() <= memory {
        return Ok(Fits { cards: 0, words: format!("{need}, of {}", size(memory)) });
    }
    Err(Misfit::TooLarge(format!("{need}; the memory is {}", size(memory))))
}

/// Memory of a slice of a card by its resource's name, such as `nvidia.com/mig-3g.40gb`, whose gigabytes NVIDIA rounds down.
pub fn memory_of_slice(resource: &str) -> Option<u64> {
    let profile = resource.strip_prefix("nvidia.com/mig-")?;
    let gigabytes = profile.split('.').find_map(|part| part.strip_suffix("gb"))?;
    gigabytes.parse::<u64>().ok()?.checked_mul(1_000_000_000)
}

fn not_shared(facts: &ModelFacts, count: u32) -> Misfit {
    let able: Vec<String> = facts.cards().map(|device| device.cards.to_string()).collect();
    let able = match able.as_slice() {
        [] | [_] => "it is served on one".to_owned(),
        [most @ .., last] => format!("{} or {last} can share it", most.join(", ")),
    };
    Misfit::NotShared(format!(
        "its {} heads of keys and values, or the blocks of its weights, can't be shared out to {count} GPUs: {able}",
        facts.kv_heads
    ))
}

/// What a card needs for one whole context, and for one of every sequence.
struct Need<'a> {
    facts: &'a ModelFacts,
    device: &'a DeviceFacts,
    memory: u64,
    one: MemoryPlan,
    all: MemoryPlan,
}

impl<'a> Need<'a> {
    fn new(facts: &'a ModelFacts, device: &'a DeviceFacts, cards: &Cards) -> Self {
        let free = cards.memory.saturating_sub(rules::DRIVER);
        let plan = |contexts: u64, scratch| {
            let blocks = rules::blocks_for(facts.context_length).saturating_mul(contexts);
            MemoryPlan {
                weights: device.weights,
                adapters: 0,
                kv: blocks.saturating_add(device.spare_blocks).saturating_mul(device.kv_block),
                scratch,
                reserve: rules::card_reserve(free, cards.sleeps) + rules::staging(free),
            }
        };
        let all = plan(facts.max_sequences, device.full_scratch);
        Self { facts, device, memory: cards.memory, one: plan(1, device.scratch), all }
    }

    fn fits_one(&self) -> bool {
        self.one.total().saturating_add(rules::DRIVER) <= self.memory
    }

    fn fits_all(&self) -> bool {
        self.all.total().saturating_add(rules::DRIVER) <= self.memory
    }

    fn fits(&self) -> Fits {
        let ModelFacts { context_length: context, max_sequences: sequences, .. } = self.facts;
        let mut words = format!("{}, of {}", self.of(&self.all, *sequences), size(self.memory));
        if !self.fits_all() {
            // What tables take grows with the blocks, and is small.
            let fixed = MemoryPlan { kv: 0, ..self.one }.total().saturating_add(rules::DRIVER);
            let blocks = self.memory.saturating_sub(fixed) / self.device.kv_block.max(1);
            let tokens = blocks.saturating_sub(self.device.spare_blocks).saturating_mul(rules::BLOCK_TOKENS);
            let tokens = tokens.max(*context);
            words = format!(
                "{}, of {}; what is left has room for {tokens} tokens, of {} that {sequences} whole sequences would have: \
                 some of them will wait for others",
                self.of(&self.one, 1),
                size(self.memory),
                sequences.saturating_mul(*context)
            );
        }
        Fits { cards: self.device.cards, words }
    }

    fn too_large(&self, more: Option<u32>) -> Misfit {
        let more = more.map_or_else(String::new, |more| format!("; {more} GPUs would do"));
        let words = format!("{}; the card has {}{more}", self.of(&self.one, 1), size(self.memory));
        Misfit::TooLarge(words)
    }

    fn of(&self, plan: &MemoryPlan, sequences: u64) -> String {
        let each = match self.device.cards {
            1 => String::new(),
            more => format!(" on each of {more} GPUs"),
        };
        let plural = if sequences == 1 { "sequence" } else { "sequences" };
        let kept = format!("at {sequences} {plural} of {}", self.facts.context_length);
        format!("needs {}", parts(plan, Some(&each), "reserve", &kept))
    }
}

/// `17.3 GiB: weights 15.0, KV 2.1 at 16 sequences of 4096, scratch 0.2`, in one unit.
fn parts(plan: &MemoryPlan, card: Option<&str>, reserve: &str, kept: &str) -> String {
    let MemoryPlan { weights, adapters: _, kv, scratch, reserve: reserved } = *plan;
    let driver = if card.is_some() { rules::DRIVER } else { 0 };
    let total = plan.total().saturating_add(driver);
    let unit = Unit::of(total);
    let show = |bytes: u64| format!("{:.1}", bytes as f64 / unit.bytes());
    let mut words =
        format!("{} {}{}: weights {}", show(total), unit.name(), card.unwrap_or_default(), show(weights));
    if !kept.is_empty() {
        words += &format!(", KV {} {kept}", show(kv));
    }
    words += &format!(", scratch {}, {reserve} {}", show(scratch), show(reserved));
    if driver > 0 {
        words += &format!(", driver {}", show(driver));
    }
    words
}

fn size(bytes: u64) -> String {
    let unit = Unit::of(bytes);
    format!("{:.1} {}", bytes as f64 / unit.bytes(), unit.name())
}

#[derive(Clone, Copy)]
enum Unit {
    Mebibyte,
    Gibibyte,
}

impl Unit {
    fn of(bytes: u64) -> Self {
        if bytes < 1 << 30 { Self::Mebibyte } else { Self::Gibibyte }
    }

    fn bytes(self) -> f64 {
        match self {
            Self::Mebibyte => f64::from(1 << 20),
            Self::Gibibyte => f64::from(1 << 30),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Mebibyte => "MiB",
            Self::Gibibyte => "GiB",
        }
    }
}

#[cfg(test)]
mod tests;
