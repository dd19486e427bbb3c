//! What goes wrong, and where: a plan of one run.

use std::fmt;

/// One write of the operator: what it does, to what, and which of the like it is in its process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Verb, kind and subresource, such as `apply-new Service`.
    pub point: String,
    /// Namespace and name; of an Event its object and reason.
    pub object: String,
    /// Counted from 1.
    pub nth: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} #{}", self.point, self.object, self.nth)
    }
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is done, and the process ends before it hears of it.
    Crash,
    /// It is done, and the connection breaks before the answer.
    Lost,
    /// The connection breaks before it arrives.
    Never,
    /// The apiserver answers this status, and does nothing.
    Refused(u16),
    /// It arrives when the operator has given up waiting.
    Late,
    /// Somebody touches the object just before.
    Touched,
    /// Somebody touches the object just before it, and before each one like it that follows.
    Busy,
    /// Somebody puts another object under its name just before.
    Replaced,
}

/// How the operator sees the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Every event, at once.
    #[default]
    Fresh,
    /// A process that starts anew lists and watches a past of so many revisions ago, for 40 seconds. What it reads by
    /// name is the present, as an apiserver answers it from a quorum.
    Stale(u64),
    /// Events are swallowed, and the watch then ends as too old.
    Dropped,
    /// Only the last of several events of one object is told.
    Coalesced,
    /// Each kind is told after a delay of its own.
    Reordered,
}

/// What goes wrong in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What becomes of one write.
    pub at: Option<(Place, Fault)>,
    /// How the operator sees the cluster: from the first change on, and for [`View::Stale`] from a new start on.
    pub view: View,
    /// Whether people act while no operator runs.
    pub away: bool,
    /// Any request may be refused, reset or slow, as this seed has it; two dozen at most.
    pub noise: bool,
    /// What delays and noise are drawn from.
    pub seed: u64,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { at, view, away, noise, seed } = self;
        match at {
            Some((place, fault)) => write!(f, "{fault:?} at {place}")?,
            None => write!(f, "no write")?,
        }
        write!(
            f,
            ", view {view:?}{}{}",
            if *away { ", away" } else { "" },
            if *noise { ", noise" } else { "" }
        )?;
        write!(f, ", seed {seed}")
    }
}

/// Numbers that follow from a seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From `seed`.
    pub fn new(seed: u64) -> Self {
        Dice(seed)
    }

    /// Below `sides`, which is not 0.
    pub fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(sides).unwrap_or_default()
    }
}
