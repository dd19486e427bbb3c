//! When the provider is asked with which key: a state machine that is told the time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::keys::Generation;

/// What came of asking with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// The list.
    Taken,
    /// The provider does not know the key.
    Refused,
    /// The key may not see the list.
    Forbidden,
    /// The server has no such list.
    NoList,
    /// No answer that says anything.
    Failed,
}

impl Came {
    /// The word in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused => "refused",
            Self::Forbidden => "forbidden",
            Self::NoList => "no_list",
            Self::Failed => "failed",
        }
    }
}

/// Who is asked when. A key is asked with once in `every`; sooner where something is wrong, and the longer that lasts,
/// the less often; at once where its file holds another.
#[derive(Debug)]
pub(super) struct Schedule {
    every: Duration,
    /// The first wait where something is wrong.
    again: Duration,
    slots: Vec<Option<Slot>>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    generation: Generation,
    due: Instant,
    asked: Option<Instant>,
    /// The wait after the next thing that is wrong.
    again: Duration,
    wrong: Option<Instant>,
}

impl Schedule {
    pub(super) fn new(every: Duration, again: Duration) -> Self {
        Self { every, again: again.min(every), slots: Vec::new() }
    }

    /// The places of the keys to ask with now. `doubted` are those that a live call was refused with.
    pub(super) fn due(
        &mut self,
        held: &[Option<Generation>],
        doubted: &BTreeSet<usize>,
        now: Instant,
    ) -> Vec<usize> {
        self.slots.resize(held.len(), None);
        let first = self.again;
        let mut due = Vec::new();
        for (index, (slot, held)) in self.slots.iter_mut().zip(held).enumerate() {
            let Some(generation) = *held else {
                *slot = None;
                continue;
            };
            let fresh = Slot { generation, due: now, asked: None, again: first, wrong: None };
            let slot = match slot {
                Some(slot) if slot.generation == generation => slot,
                other => other.insert(fresh),
            };
            if doubted.contains(&index) {
                let soonest = slot.asked.map_or(now, |asked| asked + slot.again);
                slot.due = slot.due.min(soonest.max(now));
                slot.worsen(self.every, now);
            }
            if slot.due <= now {
                due.push(index);
            }
        }
        due
    }

    /// What came of asking with the key at `index`.
    pub(super) fn came(&mut self, index: usize, came: Came, now: Instant) {
        let Some(Some(slot)) = self.slots.get_mut(index) else { return };
        slot.asked = Some(now);
        let wait = match came {
            Came::Taken => {
                // Who is taken for the list and refused for calls, again and again, is not asked about ever more often.
                if slot.wrong.is_none_or(|wrong| now.saturating_duration_since(wrong) >= self.every) {
                    slot.again = self.again;
                }
                self.every
            }
            Came::NoList => self.every,
            Came::Refused | Came::Forbidden | Came::Failed => {
                let wait = slot.again;
                slot.worsen(self.every, now);
                wait
            }
        };
        slot.due = now + wait;
    }
}

impl Slot {
    fn worsen(&mut self, most: Duration, now: Instant) {
        self.again = self.again.saturating_mul(2).min(most);
        self.wrong = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::keys::Generation;

    const SECOND: Duration = Duration::from_secs(1);
    const EVERY: Duration = Duration::from_secs(300);

    fn none() -> BTreeSet<usize> {
        BTreeSet::new()
    }

    fn schedule() -> (Schedule, [Option<Generation>; 2], Instant) {
        (Schedule::new(EVERY, 10 * SECOND), [Some(Generation::test(0)), None], Instant::now())
    }

    #[test]
    fn a_key_is_asked_with_at_once_and_then_now_and_then() {
        let (mut schedule, held, now) = schedule();
        assert_eq!(schedule.due(&held, &none(), now), [0]);
        schedule.came(0, Came::Taken, now);
        assert!(schedule.due(&held, &none(), now + EVERY - SECOND).is_empty());
        assert_eq!(schedule.due(&held, &none(), now + EVERY), [0]);
        schedule.came(0, Came::NoList, now + EVERY);
        assert!(schedule.due(&held, &none(), now + EVERY + SECOND).is_empty());
        // Another content is another key, and a file that has one now is looked at too.
        let held = [Some(Generation::test(1)), Some(Generation::test(0))];
        assert_eq!(schedule.due(&held, &none(), now + EVERY + SECOND), [0, 1]);
    }

    #[test]
    fn what_is_wrong_is_looked_at_soon_and_ever_less_often() {
        for came in [Came::Refused, Came::Forbidden, Came::Failed] {
            let (mut schedule, held, mut now) = schedule();
            for wait in [10, 20, 40, 80, 160, 300, 300] {
                assert_eq!(schedule.due(&held, &none(), now), [0], "{came:?} {wait}");
                schedule.came(0, came, now);
                assert!(schedule.due(&held, &none(), now + (wait - 1) * SECOND).is_empty());
                now += wait * SECOND;
            }
        }
    }

    #[test]
    fn a_doubt_is_looked_at_at_once_but_no_flood_of_them() {
        let (mut schedule, held, start) = schedule();
        let doubt = BTreeSet::from([0, 1]);
        schedule.due(&held, &none(), start);
        schedule.came(0, Came::Taken, start);
        let mut asked = 0;
        // A call is refused every second, for ten minutes, while the list is shown.
        for second in 1..=600 {
            let now = start + second * SECOND;
            if !schedule.due(&held, &doubt, now).is_empty() {
                asked += 1;
                schedule.came(0, Came::Taken, now);
            }
        }
        assert!((2..=8).contains(&asked), "{asked}");
        // And once it is well for long, a doubt is looked at soon again.
        let later = start + 600 * SECOND + 2 * EVERY;
        schedule.due(&held, &none(), later);
        schedule.came(0, Came::Taken, later);
        assert_eq!(schedule.due(&held, &doubt, later + 10 * SECOND), [0]);
    }
}
