use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::{EncodeError, EncoderConfig, EncoderHandle};
use crate::backend::cpu::EncoderInput;
use crate::backend::{BackendError, Encoder};
use crate::metrics::EngineMetrics;
use crate::tokenizer::EncodedSequence;

/// A token whose step panics, one whose step fails, and one whose vector is no number.
const PANICS: u32 = 90;
const FAILS: u32 = 91;
const NO_NUMBER: u32 = 92;

/// Gives the sum of a sequence's tokens, once it may; writes down the lengths of every batch.
struct Simulated {
    permits: Receiver<()>,
    batches: Arc<Mutex<Vec<Vec<usize>>>>,
}

impl Encoder for Simulated {
    fn width(&self) -> usize {
        1
    }

    fn context_length(&self) -> usize {
        8
    }

    fn vocabulary_size(&self) -> usize {
        100
    }

    fn token_types(&self) -> usize {
        2
    }

    fn encode(&mut self, inputs: &[EncoderInput<'_>]) -> Result<Vec<Vec<f32>>, BackendError> {
        self.permits.recv().ok();
        let lengths = inputs.iter().map(|input| input.tokens.len()).collect();
        self.batches.lock().unwrap().push(lengths);
        let holds = |token| inputs.iter().any(|input| input.tokens.contains(&token));
        assert!(!holds(PANICS), "told to");
        if holds(FAILS) {
            let problem = "told to".to_owned();
            return Err(BackendError::Device { device: "simulated".to_owned(), problem });
        }
        let sum = |input: &EncoderInput<'_>| {
            let sum = input.tokens.iter().sum::<u32>() as f32;
            vec![if input.tokens.contains(&NO_NUMBER) { f32::NAN } else { sum }]
        };
        Ok(inputs.iter().map(sum).collect())
    }
}

struct Bed {
    handle: EncoderHandle,
    permits: Sender<()>,
    batches: Arc<Mutex<Vec<Vec<usize>>>>,
    metrics: Arc<EngineMetrics>,
}

fn start(tokens_per_step: usize, max_waiting: usize) -> Bed {
    let ((permits, waits), batches) = (channel(), Arc::default());
    let encoder = Simulated { permits: waits, batches: Arc::clone(&batches) };
    let config = EncoderConfig { tokens_per_step, max_waiting, context_length: 6 };
    let metrics = Arc::new(EngineMetrics::default());
    let handle = EncoderHandle::start(Box::new(encoder), config, Arc::clone(&metrics)).unwrap();
    Bed { handle, permits, batches, metrics }
}

impl Bed {
    fn permit(&self, steps: usize) {
        (0..steps).for_each(|_| self.permits.send(()).unwrap());
    }

    /// Waits until the first job is being computed, and all others wait in the channel.
    async fn until_busy(&self) {
        while self.handle.load().step_age.is_none() {
            tokio::task::yield_now().await;
        }
    }
}

fn sequence(tokens: &[u32]) -> EncodedSequence {
    EncodedSequence { tokens: tokens.to_vec(), types: vec![0; tokens.len()] }
}

#[tokio::test]
async fn jobs_take_turns_within_the_bound_of_tokens() {
    let bed = start(5, 8);
    let first = bed.handle.submit(vec![sequence(&[1])]).unwrap();
    bed.until_busy().await;
    let long = bed.handle.submit((0..4).map(|i| sequence(&[i, i])).collect()).unwrap();
    let short = bed.handle.submit(vec![sequence(&[7])]).unwrap();
    let whole = bed.handle.submit(vec![sequence(&[1, 1, 1, 1, 1, 1])]).unwrap();
    bed.permit(5);
    assert_eq!(first.all().await.unwrap(), [[1.0]]);
    assert_eq!(short.all().await.unwrap(), [[7.0]]);
    assert_eq!(whole.all().await.unwrap(), [[6.0]]);
    assert_eq!(long.all().await.unwrap(), [[0.0], [2.0], [4.0], [6.0]]);
    let batches = bed.batches.lock().unwrap().clone();
    assert_eq!(
        batches[..3],
        [vec![1], vec![2, 1], vec![6]],
        "one of each in turn; what is longer goes alone"
    );
    assert_eq!(batches.iter().flatten().sum::<usize>(), 1 + 8 + 1 + 6);
}

#[tokio::test]
async fn one_bad_step_ends_its_own_jobs_only() {
    let bed = start(8, 8);
    bed.permit(5);
    let all = async |tokens: &[u32]| bed.handle.submit(vec![sequence(tokens)]).unwrap().all().await;
    assert!(matches!(all(&[PANICS]).await, Err(EncodeError::Panicked(words)) if words.contains("told to")));
    assert!(matches!(all(&[FAILS]).await, Err(EncodeError::Step(words)) if words.contains("told to")));
    assert_eq!(all(&[NO_NUMBER]).await, Err(EncodeError::NoNumbers));
    assert_eq!(all(&[3]).await, Ok(vec![vec![3.0]]));
    assert_eq!(bed.metrics.failed_steps.get(), 2);
    assert!(bed.handle.is_running());
}

#[tokio::test]
async fn a_client_that_left_costs_no_further_step() {
    let bed = start(2, 8);
    let left = bed.handle.submit((0..5).map(|_| sequence(&[1, 1])).collect()).unwrap();
    bed.until_busy().await;
    drop(left);
    let stayed = bed.handle.submit(vec![sequence(&[2])]).unwrap();
    bed.permit(2);
    assert_eq!(stayed.all().await.unwrap(), [[2.0]]);
    assert_eq!(bed.batches.lock().unwrap().len(), 2);
    assert_eq!(bed.metrics.cancelled.get(), 4);
}

#[tokio::test]
async fn a_full_queue_and_a_drain_take_nothing_more() {
    let bed = start(8, 1);
    let first = bed.handle.submit(vec![sequence(&[1])]).unwrap();
    bed.until_busy().await;
    let waits = bed.handle.submit(vec![sequence(&[2])]).unwrap();
    assert_eq!(bed.handle.submit(vec![sequence(&[3])]).unwrap_err(), EncodeError::QueueFull);
    assert_eq!(bed.metrics.queue_full.get(), 1);
    bed.handle.drain();
    assert_eq!(bed.handle.submit(vec![sequence(&[3])]).unwrap_err(), EncodeError::Draining);
    bed.permit(2);
    assert_eq!((first.all().await.unwrap(), waits.all().await.unwrap()), (vec![vec![1.0]], vec![vec![2.0]]));
}

#[tokio::test]
async fn what_the_model_does_not_know_is_refused_before_it_is_queued() {
    let bed = start(8, 8);
    let refused = |sequence| bed.handle.submit(vec![self::sequence(&[1]), sequence]).unwrap_err();
    assert_eq!(refused(sequence(&[1; 7])), EncodeError::TooLong { index: 1, tokens: 7, context: 6 });
    for (sequence, words) in [
        (sequence(&[]), "sequence 1: it holds no token"),
        (sequence(&[100]), "the token 100; ids are from 0 to 99"),
        (EncodedSequence { tokens: vec![1], types: vec![2] }, "token type 2, and the model knows 2"),
        (EncodedSequence { tokens: vec![1], types: vec![] }, "not a type for each"),
    ] {
        let said = refused(sequence).to_string();
        assert!(said.contains(words), "{said}");
    }
}
