//! Which key is next: a state machine that is told the time and what the files hold.

use std::num::NonZeroU16;
use std::time::Instant;

/// One content of a key's file. Another content is another key, and knows nothing of what the last one met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Generation(pub(super) u64);

#[cfg(test)]
impl Generation {
    /// For tests of those who only compare.
    pub(in super::super) fn test(number: u64) -> Self {
        Self(number)
    }
}

/// Where a key stands at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Standing {
    /// It can be sent.
    Usable,
    /// It is not sent before `until`.
    Resting {
        /// When.
        until: Instant,
        /// Why.
        why: Rest,
    },
    /// The provider forbids what it is asked with it. It is sent where no other is left.
    Forbidden,
    /// The provider refused it.
    Retired,
    /// Its file holds none.
    Missing,
}

/// Why a key rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Rest {
    /// Too much was asked for now, and the provider takes it again.
    Limited,
    /// The account's money or quota is used up; nobody says until when.
    Exhausted,
}

/// Why no key can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unavailable {
    /// No file holds a key.
    Missing,
    /// The provider refused those that there are.
    Retired,
    /// All that could be used are used up; the first is tried again at `until`.
    Exhausted {
        /// When.
        until: Instant,
    },
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
    /// What the provider was seen to take.
    proven: Option<Generation>,
}

#[derive(Clone, Copy, Debug)]
enum Mark {
    Clear,
    Resting { generation: Generation, until: Instant, why: Rest },
    Forbidden { generation: Generation },
    Retired { generation: Generation },
}

impl Ring {
    pub(super) fn new(weights: impl Iterator<Item = NonZeroU16>) -> Self {
        let slot = |weight: NonZeroU16| Slot {
            weight: i64::from(weight.get()),
            credit: 0,
            mark: Mark::Clear,
            proven: None,
        };
        Self { slots: weights.map(slot).collect() }
    }

    /// Where the key at `index` stands, its file holding `held[index]`.
    pub(super) fn standing(&self, index: usize, held: &[Option<Generation>], now: Instant) -> Standing {
        let (Some(slot), Some(Some(held))) = (self.slots.get(index), held.get(index)) else {
            return Standing::Missing;
        };
        match slot.mark {
            Mark::Retired { generation } if generation == *held => Standing::Retired,
            Mark::Forbidden { generation } if generation == *held => Standing::Forbidden,
            Mark::Resting { generation, until, why } if generation == *held && now < until => {
                Standing::Resting { until, why }
            }
            Mark::Clear | Mark::Resting { .. } | Mark::Forbidden { .. } | Mark::Retired { .. } => {
                Standing::Usable
            }
        }
    }

    /// Whether the provider was seen to take what the file at `index` holds.
    pub(super) fn is_proven(&self, index: usize, held: Generation) -> bool {
        self.slots.get(index).is_some_and(|slot| slot.proven == Some(held))
    }

    /// Whether there would be nothing new in the provider's taking what the file at `index` holds.
    pub(super) fn is_settled(&self, index: usize, held: Generation) -> bool {
        let forbidden = |mark| matches!(mark, Mark::Forbidden { generation } if generation == held);
        self.is_proven(index, held) && !self.slots.get(index).is_some_and(|slot| forbidden(slot.mark))
    }

    /// The place of the next key that was not `tried`.
    pub(super) fn choose(
        &mut self,
        held: &[Option<Generation>],
        tried: &[(usize, Generation)],
        now: Instant,
    ) -> Result<usize, Unavailable> {
        let mut usable = Vec::with_capacity(self.slots.len());
        let mut forbidden = Vec::new();
        let (mut limited, mut exhausted, mut retired) = (None::<Instant>, None::<Instant>, false);
        let sooner = |before: Option<Instant>, until| Some(before.map_or(until, |before| before.min(until)));
        for index in 0..self.slots.len() {
            let was_tried = tried.iter().any(|(at, generation)| {
                *at == index && held.get(index).copied().flatten() == Some(*generation)
            });
            match self.standing(index, held, now) {
                Standing::Usable if was_tried => limited = sooner(limited, now),
                Standing::Usable => usable.push(index),
                Standing::Resting { until, why: Rest::Limited } => limited = sooner(limited, until),
                Standing::Resting { until, why: Rest::Exhausted } => exhausted = sooner(exhausted, until),
                Standing::Forbidden if was_tried => retired = true,
                Standing::Forbidden => forbidden.push(index),
                Standing::Retired => retired = true,
                Standing::Missing => {}
            }
        }
        let next = self.next_of(&usable).or_else(|| self.next_of(&forbidden));
        match (next, limited, exhausted) {
            (Some(index), _, _) => Ok(index),
            (None, Some(until), _) => Err(Unavailable::Resting { until }),
            (None, None, Some(until)) => Err(Unavailable::Exhausted { until }),
            (None, None, None) if retired => Err(Unavailable::Retired),
            (None, None, None) => Err(Unavailable::Missing),
        }
    }

    /// The provider refused the key: it is out until its file holds another. Says whether that is news.
    pub(super) fn retire(&mut self, index: usize, generation: Generation) -> bool {
        let Some(slot) = self.slots.get_mut(index) else { return false };
        let news = match slot.mark {
            // A refusal that comes late speaks of a content that is gone.
            Mark::Retired { generation: marked } => marked < generation,
            Mark::Resting { generation: marked, .. } | Mark::Forbidden { generation: marked } => {
                marked <= generation
            }
            Mark::Clear => true,
        };
        if news {
            slot.mark = Mark::Retired { generation };
            slot.proven = None;
        }
        news
    }

    /// The provider forbids what it is asked with the key, whatever that is: others go before it. Says whether that is
    /// news.
    pub(super) fn forbid(&mut self, index: usize, generation: Generation) -> bool {
        let Some(slot) = self.slots.get_mut(index) else { return false };
        let news = match slot.mark {
            Mark::Retired { generation: marked }
            | Mark::Forbidden { generation: marked }
            // It says itself when it can be used again.
            | Mark::Resting { generation: marked, .. } => marked < generation,
            Mark::Clear => true,
        };
        if news {
            slot.mark = Mark::Forbidden { generation };
        }
        news
    }

    /// The key is not sent before `until`. A retired key stays so, and a longer rest is not cut short.
    pub(super) fn rest(&mut self, index: usize, generation: Generation, until: Instant, why: Rest) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let news = match slot.mark {
            Mark::Retired { generation: marked } => marked < generation,
            Mark::Forbidden { generation: marked } => marked <= generation,
            Mark::Resting { generation: marked, until: set, why: _ } => {
                marked < generation || (marked == generation && set < until)
            }
            Mark::Clear => true,
        };
        if news {
            slot.mark = Mark::Resting { generation, until, why };
        }
    }

    /// The provider took the key for a call. A refusal stands: it may have come after.
    pub(super) fn accept(&mut self, index: usize, generation: Generation) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        match slot.mark {
            Mark::Retired { generation: marked } if marked >= generation => return,
            Mark::Forbidden { generation: marked } if marked <= generation => slot.mark = Mark::Clear,
            Mark::Clear | Mark::Resting { .. } | Mark::Forbidden { .. } | Mark::Retired { .. } => {}
        }
        slot.proven = slot.proven.max(Some(generation));
    }

    /// The provider took the key when asked for nothing else: a refusal does not stand any more.
    pub(super) fn restore(&mut self, index: usize, generation: Generation) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        if matches!(slot.mark, Mark::Retired { generation: marked } if marked <= generation) {
            slot.mark = Mark::Clear;
        }
        self.accept(index, generation);
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
    const FIRST: Generation = Generation(0);

    fn limit(ring: &mut Ring, index: usize, until: Instant) {
        ring.rest(index, FIRST, until, Rest::Limited);
    }

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
        limit(&mut ring, 0, now + 5 * SECOND);
        for _ in 0..20 {
            assert_eq!(ring.choose(&held, &[], now + 4 * SECOND), Ok(1));
        }
        limit(&mut ring, 1, now + 3 * SECOND);
        assert_eq!(ring.choose(&held, &[], now), Err(Unavailable::Resting { until: now + 3 * SECOND }));
        // A shorter rest, from a request that was on its way, does not end the longer one.
        limit(&mut ring, 0, now + SECOND);
        let resting = Standing::Resting { until: now + 5 * SECOND, why: Rest::Limited };
        assert_eq!(ring.standing(0, &held, now + 4 * SECOND), resting);
        assert_eq!(ring.standing(0, &held, now + 5 * SECOND), Standing::Usable);
        assert!(ring.choose(&held, &[], now + 5 * SECOND).is_ok());
    }

    #[test]
    fn a_rest_does_not_bring_a_retired_key_back() {
        let mut ring = ring(&[1]);
        let now = Instant::now();
        ring.retire(0, Generation(0));
        limit(&mut ring, 0, now);
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
        limit(&mut ring, 1, now + SECOND);
        assert_eq!(
            ring.choose(&[None, Some(Generation(0)), Some(Generation(0))], &[], now),
            Err(Unavailable::Resting { until: now + SECOND })
        );
    }

    /// A limit passes by itself, and so it is what is waited for.
    #[test]
    fn a_used_up_key_is_told_apart_from_a_limited_one() {
        let mut ring = ring(&[1, 1]);
        let (held, now) = (held(&[0, 0]), Instant::now());
        ring.rest(0, FIRST, now + 2 * SECOND, Rest::Exhausted);
        assert_eq!(ring.choose(&held, &[], now), Ok(1));
        ring.rest(1, FIRST, now + 9 * SECOND, Rest::Exhausted);
        assert_eq!(ring.choose(&held, &[], now), Err(Unavailable::Exhausted { until: now + 2 * SECOND }));
        limit(&mut ring, 0, now + 5 * SECOND);
        assert_eq!(ring.choose(&held, &[], now), Err(Unavailable::Resting { until: now + 5 * SECOND }));
        assert_eq!(ring.choose(&held, &[], now + 5 * SECOND), Ok(0));
    }

    #[test]
    fn a_forbidden_key_is_the_last_resort_and_no_outage() {
        let mut ring = ring(&[1000, 1]);
        let (held, now) = (held(&[0, 0]), Instant::now());
        assert!(ring.forbid(0, FIRST) && !ring.forbid(0, FIRST));
        assert_eq!(ring.choose(&held, &[], now), Ok(1));
        assert_eq!(ring.choose(&held, &[(1, FIRST)], now), Ok(0));
        assert!(ring.choose(&held, &[(0, FIRST), (1, FIRST)], now).is_err());
        ring.retire(1, FIRST);
        assert_eq!(ring.choose(&held, &[], now), Ok(0), "it is all that there is");
        assert_eq!(ring.choose(&held, &[(0, FIRST)], now), Err(Unavailable::Retired));
        ring.accept(0, FIRST);
        assert_eq!(ring.standing(0, &held, now), Standing::Usable);
    }

    #[test]
    fn only_a_probe_takes_a_refusal_back() {
        let mut ring = ring(&[1]);
        let now = Instant::now();
        assert!(!ring.is_proven(0, FIRST));
        ring.accept(0, FIRST);
        assert!(ring.is_proven(0, FIRST) && !ring.is_proven(0, Generation(1)));
        ring.retire(0, FIRST);
        assert!(!ring.is_proven(0, FIRST));
        // The answer to a call that was on its way before.
        ring.accept(0, FIRST);
        assert_eq!(
            (ring.standing(0, &held(&[0]), now), ring.is_proven(0, FIRST)),
            (Standing::Retired, false)
        );
        ring.restore(0, FIRST);
        assert_eq!((ring.standing(0, &held(&[0]), now), ring.is_proven(0, FIRST)), (Standing::Usable, true));
        // A probe of a content that is gone says nothing of the next.
        ring.retire(0, Generation(1));
        ring.restore(0, FIRST);
        assert_eq!(ring.standing(0, &held(&[1]), now), Standing::Retired);
    }
}
