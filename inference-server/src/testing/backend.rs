use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};

use super::IM_END;
use crate::backend::{
    Backend, BackendDescription, BackendError, Drawing, Drawn, Logits, LogitsWanted, SequenceChunk, Sleeping,
};
use crate::kv::BLOCK_SIZE;
use crate::sampling::{Draw, LogitEdit, NoFiniteLogit, Sampled};

/// Lets a test hold the backend between steps, and keep it from computing.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    permits: Arc<(Mutex<Option<usize>>, Condvar)>,
    broken: Arc<AtomicBool>,
    /// Wakes that find no room.
    taken: Arc<AtomicUsize>,
}

impl Gate {
    /// From now on a step needs a permit.
    pub(crate) fn close(&self) {
        *self.permits.0.lock().unwrap() = Some(0);
    }

    /// Lets `steps` more steps through.
    pub(crate) fn permit(&self, steps: usize) {
        let mut permits = self.permits.0.lock().unwrap();
        *permits = permits.map(|permits| permits + steps);
        self.permits.1.notify_all();
    }

    /// Lets every step through.
    pub(crate) fn open(&self) {
        *self.permits.0.lock().unwrap() = None;
        self.permits.1.notify_all();
    }

    /// From now on every step fails, though the backend says that it is there.
    pub(crate) fn break_down(&self) {
        self.broken.store(true, Relaxed);
    }

    /// The next `wakes` find the device's memory taken.
    pub(crate) fn take_room(&self, wakes: usize) {
        self.taken.store(wakes, Relaxed);
    }

    fn pass(&self) {
        let (permits, changed) = &*self.permits;
        let mut permits = changed.wait_while(permits.lock().unwrap(), |permits| *permits == Some(0)).unwrap();
        *permits = permits.map(|permits| permits - 1);
    }
}

/// Counts letters on: after `a` comes `b`, after `z` the end; `A` to `Z` go round and never end.
///
/// Keeps tokens in its blocks where a real one keeps keys and values, and reads the whole sequence back
/// through the table, so that a lost or shared block changes what it says. Bytes with a meaning of their
/// own: `!` panics, `?` fails the step, `%` loses the device, `#` gives a row without numbers.
pub(crate) struct SimulatedBackend {
    memory: Vec<[Option<u32>; BLOCK_SIZE]>,
    context_length: usize,
    gate: Gate,
    asleep: bool,
}

impl SimulatedBackend {
    pub(crate) fn new(blocks: usize, context_length: usize) -> Self {
        let memory = vec![[None; BLOCK_SIZE]; blocks];
        Self { memory, context_length, gate: Gate::default(), asleep: false }
    }

    pub(crate) fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// Every token up to `length`, through the table.
    fn read(&self, chunk: &SequenceChunk<'_>, length: usize) -> Result<Vec<u32>, BackendError> {
        (0..length)
            .map(|position| {
                let block = chunk.blocks[position / BLOCK_SIZE].0 as usize;
                self.memory[block][position % BLOCK_SIZE].ok_or_else(|| BackendError::Device {
                    device: "simulated".to_owned(),
                    problem: format!("position {position} was never written"),
                })
            })
            .collect()
    }
}

impl Backend for SimulatedBackend {
    fn description(&self) -> BackendDescription {
        BackendDescription {
            device: "cpu".to_owned(),
            kernels: "simulated".to_owned(),
            weight_bytes: 0,
            kv_bytes: 0,
            kv_blocks: self.memory.len(),
        }
    }

    fn vocabulary_size(&self) -> usize {
        258
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn forward(&mut self, batch: &[SequenceChunk<'_>], logits: &mut Logits) -> Result<(), BackendError> {
        self.gate.pass();
        assert!(!self.asleep, "a step of a backend that sleeps");
        if self.gate.broken.load(Relaxed) {
            let problem = "it does not compute".to_owned();
            return Err(BackendError::Device { device: "simulated".to_owned(), problem });
        }
        let rows = batch.iter().map(|chunk| match chunk.logits {
            LogitsWanted::None => 0,
            LogitsWanted::Last => 1,
            LogitsWanted::All => chunk.tokens.len(),
        });
        let room = logits.reset(rows.sum(), self.vocabulary_size());
        let mut rows = room.chunks_exact_mut(258);
        for (index, chunk) in batch.iter().enumerate() {
            for (position, token) in (chunk.start..).zip(chunk.tokens) {
                match token {
                    0x21 => panic!("the backend met a !"),
                    0x3F => {
                        let problem = "the step met a ?".to_owned();
                        return Err(BackendError::InvalidChunk { chunk: index, problem });
                    }
                    0x25 => {
                        let problem = "it met a %".to_owned();
                        return Err(BackendError::Lost { device: "simulated".to_owned(), problem });
                    }
                    _ => {}
                }
                let block = chunk.blocks[position / BLOCK_SIZE].0 as usize;
                self.memory[block][position % BLOCK_SIZE] = Some(*token);
            }
            let end = chunk.start + chunk.tokens.len();
            let from = match chunk.logits {
                LogitsWanted::None => end,
                LogitsWanted::Last => end - 1,
                LogitsWanted::All => chunk.start,
            };
            for position in from..end {
                let known = self.read(chunk, position + 1)?;
                if let Some(row) = rows.next() {
                    fill(row, &known);
                }
            }
        }
        Ok(())
    }

    fn sleeping(&mut self) -> Option<&mut dyn Sleeping> {
        Some(self)
    }
}

impl Sleeping for SimulatedBackend {
    fn sleep(&mut self) -> Result<u64, BackendError> {
        self.asleep = true;
        self.memory.iter_mut().for_each(|block| *block = [None; BLOCK_SIZE]);
        Ok(1)
    }

    fn wake(&mut self) -> Result<(), BackendError> {
        let taken = self.gate.taken.load(Relaxed);
        if taken > 0 {
            self.gate.taken.store(taken - 1, Relaxed);
            let problem = "others have its memory".to_owned();
            return Err(BackendError::NoRoom { device: "simulated".to_owned(), problem });
        }
        if self.gate.broken.load(Relaxed) {
            let problem = "its weights are gone".to_owned();
            return Err(BackendError::Device { device: "simulated".to_owned(), problem });
        }
        self.asleep = false;
        Ok(())
    }
}

/// The next letter is likeliest; the rest is noise that hangs on every token so far.
fn fill(row: &mut [f32], known: &[u32]) {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for token in known {
        hash = (hash ^ u64::from(*token)).wrapping_mul(0x0100_0000_01b3);
    }
    for (id, logit) in (0_u64..).zip(row.iter_mut()) {
        let noise = (hash ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        *logit = noise as f32 / (1 << 24) as f32 * 5.0;
    }
    let last = known.last().copied().unwrap_or(0);
    let next = match u8::try_from(last) {
        Ok(b'#') => return row.fill(f32::NAN),
        Ok(b'z') | Err(_) => IM_END,
        Ok(b'Z') => u32::from(b'A'),
        Ok(_) => last + 1,
    };
    row[next as usize] = 9.0;
}

/// The same, drawing by itself: always the likeliest, after the draw's edits.
pub(crate) struct SimulatedDrawing {
    inner: SimulatedBackend,
    drawn: Vec<Drawn>,
    draws: Arc<AtomicUsize>,
    fetches: Gate,
}

impl SimulatedDrawing {
    pub(crate) fn new(inner: SimulatedBackend) -> Self {
        Self { inner, drawn: Vec::new(), draws: Arc::default(), fetches: Gate::default() }
    }

    /// Holds the engine where it fetches a step that was begun.
    pub(crate) fn fetches(&self) -> Gate {
        self.fetches.clone()
    }

    /// Counts what is drawn, also for nobody.
    pub(crate) fn draws(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.draws)
    }
}

impl Backend for SimulatedDrawing {
    fn description(&self) -> BackendDescription {
        self.inner.description()
    }

    fn vocabulary_size(&self) -> usize {
        self.inner.vocabulary_size()
    }

    fn context_length(&self) -> usize {
        self.inner.context_length()
    }

    fn forward(&mut self, batch: &[SequenceChunk<'_>], logits: &mut Logits) -> Result<(), BackendError> {
        self.inner.forward(batch, logits)
    }

    fn drawing(&mut self) -> Option<&mut dyn Drawing> {
        Some(self)
    }
}

impl Drawing for SimulatedDrawing {
    fn begin(&mut self, batch: &[SequenceChunk<'_>], draws: &[Draw]) -> Result<(), BackendError> {
        let mut logits = Logits::default();
        self.inner.forward(batch, &mut logits)?;
        assert_eq!(logits.rows(), draws.len(), "a draw for each row");
        self.draws.fetch_add(draws.len(), Relaxed);
        let token = |(row, draw): (usize, &Draw)| {
            let row = logits.row_mut(row).unwrap();
            for LogitEdit { token, repetition, add } in &draw.edits {
                let logit = &mut row[*token as usize];
                *logit = if *logit > 0.0 { *logit / repetition } else { *logit * repetition } + add;
            }
            let best = (0..).zip(row.iter()).filter(|(_, x)| x.is_finite()).max_by(|a, b| a.1.total_cmp(b.1));
            best.map(|(token, _)| Sampled { token, logprobs: None }).ok_or(NoFiniteLogit)
        };
        self.drawn = draws.iter().enumerate().map(token).collect();
        Ok(())
    }

    fn fetch(&mut self) -> Result<Vec<Drawn>, BackendError> {
        self.fetches.pass();
        Ok(std::mem::take(&mut self.drawn))
    }
}
