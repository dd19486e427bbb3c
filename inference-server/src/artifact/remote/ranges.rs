//! Which bytes of a file are there: sorted, disjoint, half-open ranges. Pure.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A set of byte positions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds `range`, joining what touches.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|held| held.end < range.start);
        let to = self.0.partition_point(|held| held.start <= range.end);
        let touched = self.0.get(from..to).unwrap_or_default();
        let start = touched.first().map_or(range.start, |first| first.start.min(range.start));
        let end = touched.last().map_or(range.end, |last| last.end.max(range.end));
        self.0.splice(from..to, std::iter::once(start..end));
    }

    /// Number of positions.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|held| held.end - held.start).sum()
    }

    /// Whether nothing lies at or past `length`.
    pub(super) fn fits(&self, length: u64) -> bool {
        self.0.last().is_none_or(|last| last.end <= length)
    }

    /// What is missing of `0..length`, in pieces of at most `piece` bytes.
    pub(super) fn missing(&self, length: u64, piece: u64) -> Vec<Range<u64>> {
        let piece = piece.max(1);
        let (mut missing, mut from) = (Vec::new(), 0);
        for held in self.0.iter().cloned().chain(std::iter::once(length..length)) {
            while from < held.start.min(length) {
                let to = from.saturating_add(piece).min(held.start).min(length);
                missing.push(from..to);
                from = to;
            }
            from = from.max(held.end);
        }
        missing
    }
}

impl From<Vec<(u64, u64)>> for Ranges {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        let mut ranges = Self::default();
        for (start, end) in pairs {
            ranges.insert(start..end);
        }
        ranges
    }
}

impl From<Ranges> for Vec<(u64, u64)> {
    fn from(ranges: Ranges) -> Self {
        ranges.0.into_iter().map(|held| (held.start, held.end)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn missing_pieces_go_round_what_is_there() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.missing(10, 4), [0..4, 4..8, 8..10]);
        ranges.insert(3..5);
        ranges.insert(5..6);
        assert_eq!(ranges.missing(10, 4), [0..3, 6..10]);
        assert_eq!(serde_json::to_string(&ranges).unwrap(), "[[3,6]]");
        ranges.insert(0..10);
        assert!(ranges.missing(10, 4).is_empty());
        assert!(ranges.fits(10) && !ranges.fits(9));
    }

    proptest! {
        #[test]
        fn a_set_of_ranges_is_a_set_of_positions(
            inserts in prop::collection::vec((0u64..60, 0u64..20), 0..20), piece in 1u64..9,
        ) {
            let (mut ranges, mut model) = (Ranges::default(), std::collections::BTreeSet::new());
            for (start, length) in inserts {
                ranges.insert(start..start + length);
                model.extend(start..start + length);
            }
            prop_assert_eq!(ranges.total(), model.len() as u64);
            for pair in ranges.0.windows(2) {
                prop_assert!(pair[0].end < pair[1].start);
            }
            let missing = ranges.missing(80, piece);
            prop_assert!(missing.iter().all(|gap| !gap.is_empty() && gap.end - gap.start <= piece));
            let gaps: Vec<u64> = missing.into_iter().flatten().collect();
            let expected: Vec<u64> = (0..80).filter(|position| !model.contains(position)).collect();
            prop_assert_eq!(gaps, expected);
        }
    }
}
