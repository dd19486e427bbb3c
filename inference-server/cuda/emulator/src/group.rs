//! Devices that add up together, each in a thread of its own: in the order of their ranks, so that a sum is the same bits
//! every time.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use weighbridge_cuda::device::DeviceError;

/// One device's end of a group.
#[derive(Debug)]
pub(super) struct Member {
    rank: usize,
    group: Arc<Group>,
}

#[derive(Debug)]
struct Group {
    round: Mutex<Round>,
    changed: Condvar,
}

/// What is being added up.
#[derive(Debug)]
struct Round {
    number: u64,
    /// Of each rank that came.
    parts: Vec<Option<Vec<f32>>>,
    /// Of the round before: nobody begins another before all have read it.
    sum: Vec<f32>,
    /// Why nothing is added up any more.
    broken: Option<String>,
}

impl Group {
    fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// The members of a group of `of`.
    pub(super) fn group(of: usize) -> Vec<Self> {
        let round = Round { number: 0, parts: vec![None; of], sum: Vec::new(), broken: None };
        let group = Arc::new(Group { round: Mutex::new(round), changed: Condvar::new() });
        (0..of).map(|rank| Self { rank, group: Arc::clone(&group) }).collect()
    }

    /// `values`, summed over all members. Waits for them.
    pub(super) fn all_reduce(&self, values: Vec<f32>) -> Result<Vec<f32>, DeviceError> {
        let act = "adding up over all cards";
        let mut round = self.group.round();
        let (number, count) = (round.number, values.len());
        if let Some(part) = round.parts.get_mut(self.rank) {
            *part = Some(values);
        }
        if round.broken.is_none() && round.parts.iter().all(Option::is_some) {
            let mut sum = vec![0.0; count];
            for part in round.parts.iter_mut().filter_map(Option::take) {
                if part.len() != count {
                    let problem = format!("ranks add up {count} and {} floats", part.len());
                    return Err(DeviceError::Failed { act, problem });
                }
                sum.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
            }
            (round.sum, round.number) = (sum, number + 1);
            self.group.changed.notify_all();
        }
        loop {
            if round.number > number {
                return Ok(round.sum.clone());
            }
            if let Some(problem) = round.broken.clone() {
                return Err(DeviceError::Lost { act, problem });
            }
            round = self.group.changed.wait(round).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the group.
    pub(super) fn abandon(&self, problem: &str) {
        self.group.round().broken.get_or_insert_with(|| format!("rank {} failed: {problem}", self.rank));
        self.group.changed.notify_all();
    }
}
