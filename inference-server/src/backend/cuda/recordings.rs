//! Which steps are recorded, by shape. Pure: the device's part is its owner's.

use std::collections::HashMap;

use weighbridge_cuda::device::Recording;

use super::inputs::Shape;

/// Shapes that are kept: a recording is a few hundred kilobytes of the driver's memory.
const MOST: usize = 256;

/// How far a step's shape came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    /// It ran once, which brought its kernels' code to the card: that may not happen within a recording.
    Ran,
    /// It is replayed.
    As(Recording),
    /// The device refused to record it.
    Refused,
}

/// The shapes that came lately.
#[derive(Debug, Default)]
pub(super) struct Recordings {
    /// Each with the turn at which it last came.
    known: HashMap<Shape, (Recorded, u64)>,
    turn: u64,
}

impl Recordings {
    /// How far `shape` came, which comes now.
    pub(super) fn find(&mut self, shape: &Shape) -> Option<Recorded> {
        self.turn += 1;
        let (recorded, last) = self.known.get_mut(shape)?;
        *last = self.turn;
        Some(*recorded)
    }

    /// Notes what became of a shape that came before.
    pub(super) fn note(&mut self, shape: &Shape, recorded: Recorded) {
        if let Some((known, _)) = self.known.get_mut(shape) {
            *known = recorded;
        }
    }

    /// Adds a shape that came for the first time. Where there are too many, the one that did not come for longest is
    /// given up: returns its recording.
    pub(super) fn add(&mut self, shape: &Shape) -> Option<Recording> {
        let oldest = self.known.iter().min_by_key(|(_, (_, last))| *last).map(|(shape, _)| shape.clone());
        let given_up =
            oldest.filter(|_| self.known.len() >= MOST).and_then(|shape| self.known.remove(&shape));
        self.known.insert(shape.clone(), (Recorded::Ran, self.turn));
        match given_up {
            Some((Recorded::As(recording), _)) => Some(recording),
            Some((Recorded::Ran | Recorded::Refused, _)) | None => None,
        }
    }

    /// Forgets all shapes: returns what was recorded of them.
    pub(super) fn clear(&mut self) -> Vec<Recording> {
        let known = self.known.drain().filter_map(|(_, (recorded, _))| match recorded {
            Recorded::As(recording) => Some(recording),
            Recorded::Ran | Recorded::Refused => None,
        });
        known.collect()
    }

    /// How far each shape came.
    #[cfg(test)]
    pub(super) fn states(&self) -> impl Iterator<Item = Recorded> {
        self.known.values().map(|(recorded, _)| *recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(rows: usize) -> Shape {
        Shape { rows, decoding: rows, kept: None, tiles: Vec::new(), adapted: false }
    }

    #[test]
    fn what_did_not_come_for_longest_is_given_up() {
        let mut recordings = Recordings::default();
        for rows in 0..MOST {
            assert_eq!(recordings.find(&shape(rows)), None);
            assert_eq!(recordings.add(&shape(rows)), None);
            recordings.note(&shape(rows), Recorded::As(Recording(rows)));
        }
        assert_eq!(recordings.find(&shape(0)), Some(Recorded::As(Recording(0))));
        assert_eq!(recordings.find(&shape(MOST)), None);
        assert_eq!(recordings.add(&shape(MOST)), Some(Recording(1)));
        assert_eq!(recordings.find(&shape(1)), None);
        assert_eq!(recordings.find(&shape(MOST)), Some(Recorded::Ran));
        assert_eq!(recordings.find(&shape(0)), Some(Recorded::As(Recording(0))));
    }
}
