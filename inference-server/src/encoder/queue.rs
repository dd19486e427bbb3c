//! Who is next: pure, with no thread and no clock.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::EncodeError;
use crate::tokenizer::EncodedSequence;

/// The sequences of one request, and where its vectors go.
#[derive(Debug)]
pub(super) struct Job {
    /// Not yet computed, in order.
    pub(super) sequences: VecDeque<EncodedSequence>,
    /// Of those that are, in the same order.
    pub(super) vectors: Vec<Vec<f32>>,
    pub(super) reply: oneshot::Sender<Result<Vec<Vec<f32>>, EncodeError>>,
    /// Its part of the memory for waiting tokens.
    pub(super) _room: OwnedSemaphorePermit,
}

/// A job's name; the older the smaller.
pub(super) type JobId = u64;

/// Jobs, each in turn.
#[derive(Debug, Default)]
pub(super) struct Queue {
    jobs: BTreeMap<JobId, Job>,
    /// Jobs with sequences left, the next first.
    turns: VecDeque<JobId>,
    next: JobId,
}

impl Queue {
    pub(super) fn push(&mut self, job: Job) {
        self.jobs.insert(self.next, job);
        self.turns.push_back(self.next);
        self.next += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Takes sequences up to `budget` tokens, one of each job in turn, so that a long list does not keep a short one
    /// waiting. At least one, whatever its length.
    pub(super) fn batch(&mut self, budget: usize) -> Vec<(JobId, EncodedSequence)> {
        let (mut batch, mut left) = (Vec::new(), budget);
        while let Some(id) = self.turns.front().copied() {
            let waiting = self.jobs.get_mut(&id).map(|job| &mut job.sequences);
            let Some(sequences) = waiting.filter(|sequences| !sequences.is_empty()) else {
                self.turns.pop_front();
                continue;
            };
            let tokens = sequences.front().map_or(0, |sequence| sequence.tokens.len());
            if !batch.is_empty() && tokens > left {
                break;
            }
            left = left.saturating_sub(tokens);
            batch.extend(sequences.pop_front().map(|sequence| (id, sequence)));
            self.turns.rotate_left(1);
        }
        batch
    }

    /// Puts a step's vectors to their jobs and takes away the jobs that have them all.
    pub(super) fn done(&mut self, vectors: impl Iterator<Item = (JobId, Vec<f32>)>) -> Vec<Job> {
        let mut touched = Vec::new();
        for (id, vector) in vectors {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.vectors.push(vector);
                touched.push(id);
            }
        }
        touched.retain(|id| self.jobs.get(id).is_some_and(|job| job.sequences.is_empty()));
        touched.into_iter().filter_map(|id| self.jobs.remove(&id)).collect()
    }

    /// Takes the job away.
    pub(super) fn remove(&mut self, id: JobId) -> Option<Job> {
        self.jobs.remove(&id)
    }

    /// Takes away the jobs that nobody waits for, and says how many sequences they still had.
    pub(super) fn drop_abandoned(&mut self) -> usize {
        let before = self.sequences();
        self.jobs.retain(|_, job| !job.reply.is_closed());
        before - self.sequences()
    }

    /// Sequences that wait.
    pub(super) fn sequences(&self) -> usize {
        self.jobs.values().map(|job| job.sequences.len()).sum()
    }

    /// Tokens that wait.
    pub(super) fn tokens(&self) -> usize {
        let of_job = |job: &Job| job.sequences.iter().map(|sequence| sequence.tokens.len()).sum::<usize>();
        self.jobs.values().map(of_job).sum()
    }
}
