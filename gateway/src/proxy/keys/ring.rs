//! Which key is next: a state machine that is told the time and what the files hold.

use std::num::NonZeroU16;
use std::time::Instant;

/// One content of a key's file. Another content is another key, and knows nothing of what the last one met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(pub(super) u64);

/// Where a key stands at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Standing {
    /// It can be sent.
    Usable,
    /// The provider takes it again at `until`.
    Resting {
        /// When.
        until: Instant,
    },
    /// The provider refused it.
    Retired,
    /// Its file holds none.
    Missing,
}

/// Why no key can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unavailable {
    /// No file holds a key.
    Missing,
    /// The provider refused those that there are.
    Retired,
    /// The first can be used again at `until`.
    Resting {
        /// When; not later than now where a key was tried already and could be tried again.
        until: Instant,
    },
}

/// The keys by their places. Smooth weighted round robin: of weights 3 and 1 every fourth request takes the second,
/// never three in a row that could have been spread.
#[derive(Debug)]
pub(super) struct Ring {
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    weight: i64,
    /// How much the key is behind its share; the one furthest behind is next.
    credit: i64,
    mark: Mark,
}

#[derive(Clone, Copy, Debug)]
enum Mark {
    Clear,
    Resting { generation: Generation, until: Instant },
    Retired { generation: Generation },
}

impl Ring {
    pub(super) fn new(weights: impl Iterator<Item = NonZeroU16>) -> Self {
        let slot =
            |weight: NonZeroU16| Slot { weight: i64::from(weight.get()), credit: 0, mark: Mark::Clear };
        Self { slots: weights.map(slot).collect() }
    }

    /// Where the key at `index` stands, its file holding `held[index]`.
    pub(super) fn standing(&self, index: usize, held: &[Option<Generation>], now: Instant) -> Standing {
        let (Some(slot), Some(Some(held))) = (self.slots.get(index), held.get(index)) else {
            return Standing::Missing;
        };
        match slot.mark {
            Mark::Retired { generation } if generation == *held => Standing::Retired,
            Mark::Resting { generation, until } if generation == *held && now < until => {
                Standing::Resting { until }
            }
            Mark::Clear | Mark::Resting { .. } | Mark::Retired { .. } => Standing::Usable,
        }
    }

    /// The place of the next key that was not `tried`.
    pub(super) fn choose(
        &mut self,
        held: &[Option<Generation>],
        tried: &[(usize, Generation)],
        now: Instant,
    ) -> Result<usize, Unavailable> {
        let mut usable = Vec::with_capacity(self.slots.len());
        let (mut soonest, mut retired) = (None::<Instant>, false);
        for index in 0..self.slots.len() {
            let was_tried = tried.iter().any(|(at, generation)| {
                *at == index && held.get(index).copied().flatten() == Some(*generation)
            });
            let until = match self.standing(index, held, now) {
                Standing::Usable if was_tried => now,
                Standing::Usable => {
                    usable.push(index);
                    continue;
                }
                Standing::Resting { until } => until,
                Standing::Retired => {
                    retired = true;
                    continue;
                }
                Standing::Missing => continue,
            };
            soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
        }
        match (self.next_of(&usable), soonest) {
            (Some(index), _) => Ok(index),
            (None, Some(until)) => Err(Unavailable::Resting { until }),
            (None, None) if retired => Err(Unavailable::Retired),
            (None, None) => Err(Unavailable::Missing),
        }
    }

    /// The provider refused the key: it is out until its file holds another. Says whether that is news.
    pub(super) fn retire(&mut self, index: usize, generation: Generation) -> bool {
        let Some(slot) = self.slots.get_mut(index) else { return false };
        let news = match slot.mark {
            // A refusal that comes late speaks of a content that is gone.
            Mark::Retired { generation: marked } => marked < generation,
            Mark::Resting { generation: marked, .. } => marked <= generation,
            Mark::Clear => true,
        };
        if news {
            slot.mark = Mark::Retired { generation };
        }
        news
    }

    /// The provider takes the key again at `until`. A retired key stays so, and a longer rest is not cut short.
    pub(super) fn rest(&mut self, index: usize, generation: Generation, until: Instant) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let news = match slot.mark {
            Mark::Retired { generation: marked } => marked < generation,
            Mark::Resting { generation: marked, until: set } => {
                marked < generation || (marked == generation && set < until)
            }
            Mark::Clear => true,
        };
        if news {
            slot.mark = Mark::Resting { generation, until };
        }
    }

    fn next_of(&mut self, usable: &[usize]) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for index in usable {
            let slot = self.slots.get_mut(*index)?;
            slot.credit += slot.weight;
            total += slot.weight;
            if best.is_none_or(|(_, credit)| slot.credit > credit) {
                best = Some((*index, slot.credit));
            }
        }
        let (index, _) = best?;
        self.slots.get_mut(index)?.credit -= total;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ring(weights: &[u16]) -> Ring {
        Ring::new(weights.iter().map(|weight| NonZeroU16::new(*weight).expect("above zero")))
    }

    fn held(generations: &[u64]) -> Vec<Option<Generation>> {
        generations.iter().map(|generation| Some(Generation(*generation))).collect()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn keys_are_chosen_by_weight_and_evenly() {
        let mut ring = ring(&[5, 1, 1]);
        let (held, now) = (held(&[0, 0, 0]), Instant::now());
        let order: Vec<_> = (0..7).map(|_| ring.choose(&held, &[], now).expect("usable")).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
        let rounds: Vec<_> = (0..700).map(|_| ring.choose(&held, &[], now).expect("usable")).collect();
        let of = |key| rounds.iter().filter(|chosen| **chosen == key).count();
        assert_eq!((of(0), of(1), of(2)), (500, 100, 100));
    }

    #[test]
    fn a_retired_key_is_back_with_another_content_only() {
        let mut ring = ring(&[1000, 1]);
        let now = Instant::now();
        ring.retire(0, Generation(0));
        for later in [now, now + 1_000_000 * SECOND] {
            assert_eq!(ring.choose(&held(&[0, 0]), &[], later), Ok(1));
        }
        ring.retire(1, Generation(0));
        assert_eq!(ring.choose(&held(&[0, 0]), &[], now), Err(Unavailable::Retired));
        assert_eq!(ring.choose(&held(&[1, 0]), &[], now), Ok(0));
        // The refusal of a content that is gone by now says nothing of the next.
        assert!(!ring.retire(0, Generation(0)));
        assert_eq!(ring.choose(&held(&[1, 0]), &[], now), Ok(0));
        assert!(ring.retire(0, Generation(1)) && !ring.retire(0, Generation(0)));
        assert_eq!(ring.choose(&held(&[1, 0]), &[], now), Err(Unavailable::Retired));
    }

    #[test]
    fn a_resting_key_is_passed_over_until_its_time() {
        let mut ring = ring(&[9, 1]);
        let (held, now) = (held(&[0, 0]), Instant::now());
        ring.rest(0, Generation(0), now + 5 * SECOND);
        for _ in 0..20 {
            assert_eq!(ring.choose(&held, &[], now + 4 * SECOND), Ok(1));
        }
        ring.rest(1, Generation(0), now + 3 * SECOND);
        assert_eq!(ring.choose(&held, &[], now), Err(Unavailable::Resting { until: now + 3 * SECOND }));
        // A shorter rest, from a request that was on its way, does not end the longer one.
        ring.rest(0, Generation(0), now + SECOND);
        assert_eq!(ring.standing(0, &held, now + 4 * SECOND), Standing::Resting { until: now + 5 * SECOND });
        assert_eq!(ring.standing(0, &held, now + 5 * SECOND), Standing::Usable);
        assert!(ring.choose(&held, &[], now + 5 * SECOND).is_ok());
    }

    #[test]
    fn a_rest_does_not_bring_a_retired_key_back() {
        let mut ring = ring(&[1]);
        let now = Instant::now();
        ring.retire(0, Generation(0));
        ring.rest(0, Generation(0), now);
        assert_eq!(ring.choose(&held(&[0]), &[], now + SECOND), Err(Unavailable::Retired));
    }

    #[test]
    fn a_request_tries_no_key_twice() {
        let mut ring = ring(&[5, 1]);
        let (held, now) = (held(&[0, 0]), Instant::now());
        assert_eq!(ring.choose(&held, &[(0, Generation(0))], now), Ok(1));
        let both = [(0, Generation(0)), (1, Generation(0))];
        assert_eq!(ring.choose(&held, &both, now), Err(Unavailable::Resting { until: now }));
        // But another content is another key.
        assert_eq!(ring.choose(&[Some(Generation(1)), None], &both, now), Ok(0));
    }

    #[test]
    fn files_without_a_key_are_passed_over_and_said_last() {
        let mut ring = ring(&[1, 1, 1]);
        let now = Instant::now();
        assert_eq!(ring.choose(&[None, None, Some(Generation(0))], &[], now), Ok(2));
        assert_eq!(ring.choose(&[None, None, None], &[], now), Err(Unavailable::Missing));
        ring.retire(2, Generation(0));
        assert_eq!(ring.choose(&[None, None, Some(Generation(0))], &[], now), Err(Unavailable::Retired));
        ring.rest(1, Generation(0), now + SECOND);
        assert_eq!(
            ring.choose(&[None, Some(Generation(0)), Some(Generation(0))], &[], now),
            Err(Unavailable::Resting { until: now + SECOND })
        );
    }
}
