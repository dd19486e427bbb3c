use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use weighbridge_crds::condition::Reason;
use weighbridge_fit::{Asked, Cards, Fits, Misfit, on_cards, on_cpu};

use super::hardware::{CountedBy, Hardware, is_part_of_a_card, memory_of};
use super::{Header, Open, Refusal};
use crate::quantity;

/// The most GPUs that `resources.gpus: auto` takes: what one machine mostly has.
const MOST_GPUS: u32 = 8;

/// How a model's memory was held against its hardware's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fitting {
    /// It was not: the hardware does not say how much memory it has.
    Unasked,
    /// The header of the weights is to be read first.
    Unread {
        /// What stands for the source and the settings that it is read for.
        inspection: String,
    },
    /// It fits, by this arithmetic.
    Fits {
        /// What stands for the source and the settings that its header was read for.
        inspection: String,
        /// GPUs that share it; 0 on the CPU.
        gpus: u32,
        /// The sum.
        words: String,
    },
}

impl Fitting {
    /// The arithmetic, where there is one.
    pub fn words(&self) -> Option<&str> {
        match self {
            Fitting::Unasked | Fitting::Unread { .. } => None,
            Fitting::Fits { inspection: _, gpus: _, words } => Some(words),
        }
    }
}

/// Holds the model against its hardware by what is known of its header, and chooses how many GPUs it gets where that is asked
/// for. In a cluster a header is read where GPUs are at stake; beside a CPU the engine itself says what it lacks.
pub(super) fn fitted(open: Open, header: &Header) -> Result<Open, Refusal> {
    let (facts, here) = match header {
        Header::Here(facts) => (facts.as_deref(), true),
        Header::Inspected(known) => {
            let inspection = inspection(&open);
            let found = known.iter().find(|known| known.inspection == inspection);
            (found.map(|found| &found.facts), false)
        }
    };
    let Hardware::Profile { name, memory, gpu, counted_by, .. } = &open.hardware else { return Ok(open) };
    let refused = |error: Misfit| refused(error, name, *counted_by);
    let Some(gpu) = gpu else {
        let Some(facts) = facts.filter(|_| here) else { return Ok(open) };
        let fits = on_cpu(facts, quantity::bytes(memory).unwrap_or(u64::MAX)).map_err(refused)?;
        return Ok(with(open, fits));
    };
    let Some(memory) = memory_of(gpu) else { return Ok(open) };
    let Some(facts) = facts else {
        let inspection = inspection(&open);
        return Ok(Open { fitting: Fitting::Unread { inspection }, ..open });
    };
    let alone = open.sleep.is_some() || !open.adapters.is_empty() || is_part_of_a_card(gpu);
    let asked = match counted_by {
        CountedBy::Weights => Asked::Fewest { most: if alone { 1 } else { MOST_GPUS } },
        CountedBy::Profile | CountedBy::Spec => Asked::Count(gpu.count.unsigned_abs()),
    };
    let cards = Cards { memory, asked, sleeps: open.sleep.is_some() };
    let fits = on_cards(facts, &cards).map_err(refused)?;
    Ok(with(open, fits))
}

fn with(mut open: Open, Fits { cards, words }: Fits) -> Open {
    if let Hardware::Profile { gpu: Some(gpu), counted_by: CountedBy::Weights, .. } = &mut open.hardware {
        gpu.count = i32::try_from(cards).unwrap_or(i32::MAX);
    }
    let inspection = inspection(&open);
    Open { fitting: Fitting::Fits { inspection, gpus: cards, words }, ..open }
}

fn refused(error: Misfit, profile: &str, counted_by: CountedBy) -> Refusal {
    let field = match counted_by {
        CountedBy::Profile => format!("ResourceProfile {profile:?}"),
        CountedBy::Spec | CountedBy::Weights => {
            format!("openWeights.resources.gpus of ResourceProfile {profile:?}")
        }
    };
    match error {
        Misfit::TooLarge(words) => {
            let message = format!("{field} does not hold the model: it {words}");
            Refusal::new(Reason::InsufficientCapacity, message)
        }
        Misfit::NotShared(words) | Misfit::Unserved(words) => {
            Refusal::invalid(format!("{field} can't serve the model: {words}"))
        }
    }
}

/// Ten hexadecimal characters that stand for all that an inspection is told: what a header says for one it says for the same
/// again.
pub(super) fn inspection(open: &Open) -> String {
    let Open {
        source,
        weights,
        held: _,
        authorities: _,
        digest,
        // A header is looked at, and not served.
        signature: _,
        context_length,
        max_sequences,
        kv_cache_type,
        quantize,
        sleep: _,
        adapters: _,
        hardware: _,
        profile: _,
        drain_timeout: _,
        pod_template: _,
        fitting: _,
    } = open;
    let (revision, endpoint) = weights.revision_and_endpoint();
    let number = |value: &Option<u32>| value.map(|value| value.to_string()).unwrap_or_default();
    let told = [
        source.as_str(),
        revision.unwrap_or_default(),
        endpoint.unwrap_or_default(),
        digest.as_deref().unwrap_or_default(),
        &number(context_length),
        &number(max_sequences),
        kv_cache_type.as_str(),
        quantize.map_or("", |kind| kind.as_str()),
    ];
    // A source or revision holds no line end.
    let hash = Sha256::digest(told.join("\n").as_bytes());
    hash.iter().take(5).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
