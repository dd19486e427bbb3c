//! Several cards that compute one model: the engine's thread has the first, each other has a thread, which does every step
//! as the first does. They meet on the cards, where partial results are added up, and here, where a step begins and ends.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use weighbridge_cuda::device::{DeviceError, Recording};

use super::CudaBackend;
use super::inputs::StepInputs;

/// Orders and reports on their way between two cards: never more than one, for each waits for the other.
const ON_THEIR_WAY: usize = 1;

/// What the first card tells another.
pub(super) enum Order {
    /// Run this step; true where its logits fit.
    Step(Arc<StepInputs>, bool),
    /// Whether all recorded the step.
    Recorded(bool),
}

/// What another card tells the first.
pub(super) enum Report {
    /// Whether the step was recorded.
    Recorded(bool),
    /// The step ended.
    Done,
    /// It failed, in the card's words, and so did the card.
    Failed(String),
}

/// A card's part among those that compute a model.
#[derive(Default)]
pub(super) enum Role {
    /// There is no other.
    #[default]
    Alone,
    /// The first, which leads the others.
    First {
        others: Vec<Other>,
        /// True from a step's begin to its end: after a panic in between, nobody knows where the others are.
        in_step: bool,
    },
    /// One that is led.
    Led { orders: Receiver<Order>, reports: SyncSender<Report> },
}

/// Another card, as the first has it.
pub(super) struct Other {
    rank: usize,
    orders: SyncSender<Order>,
    reports: Receiver<Report>,
    thread: JoinHandle<()>,
}

impl Other {
    fn tell(&self, order: Order) -> Result<(), DeviceError> {
        self.orders.send(order).map_err(|_| self.ended())
    }

    fn hear(&self) -> Result<Report, DeviceError> {
        match self.reports.recv() {
            Ok(Report::Failed(problem)) => Err(lost(format!("rank {} failed: {problem}", self.rank))),
            Ok(report) => Ok(report),
            Err(_) => Err(self.ended()),
        }
    }

    fn ended(&self) -> DeviceError {
        lost(format!("the thread of rank {} ended", self.rank))
    }
}

impl Role {
    /// Gives each of `others` its thread, where it is led.
    pub(super) fn lead(others: Vec<CudaBackend>) -> io::Result<Self> {
        if others.is_empty() {
            return Ok(Self::Alone);
        }
        let mut led = Vec::with_capacity(others.len());
        for (rank, mut backend) in (1..).zip(others) {
            let (orders, told) = sync_channel(ON_THEIR_WAY);
            let (reports, heard) = sync_channel(ON_THEIR_WAY);
            backend.role = Self::Led { orders: told, reports };
            let thread = Builder::new().name(format!("card-{rank}")).spawn(move || follow(backend))?;
            led.push(Other { rank, orders, reports: heard, thread });
        }
        Ok(Self::First { others: led, in_step: false })
    }

    /// Begins a step on all others.
    fn begin(&mut self, inputs: &StepInputs, fit: bool) -> Result<(), DeviceError> {
        let Self::First { others, in_step } = self else { return Ok(()) };
        if std::mem::replace(in_step, true) {
            return Err(lost("a step before ended on some cards only".to_owned()));
        }
        let inputs = Arc::new(inputs.clone());
        others.iter().try_for_each(|other| other.tell(Order::Step(Arc::clone(&inputs), fit)))
    }

    /// Waits for the end of a step on all others.
    fn end(&mut self) -> Result<(), DeviceError> {
        let Self::First { others, in_step } = self else { return Ok(()) };
        for other in others {
            match other.hear()? {
                Report::Done => {}
                Report::Recorded(_) | Report::Failed(_) => return Err(out_of_step()),
            }
        }
        *in_step = false;
        Ok(())
    }

    /// What this card recorded, where all cards did: steps are replayed by all or by none.
    pub(super) fn agree(
        &mut self,
        recorded: Result<Recording, DeviceError>,
    ) -> Result<Recording, DeviceError> {
        let mine = recorded.is_ok();
        let all = match self {
            Self::Alone => mine,
            Self::First { others, in_step: _ } => {
                let mut all = mine;
                for other in &*others {
                    match other.hear()? {
                        Report::Recorded(theirs) => all &= theirs,
                        Report::Done | Report::Failed(_) => return Err(out_of_step()),
                    }
                }
                others.iter().try_for_each(|other| other.tell(Order::Recorded(all)))?;
                all
            }
            Self::Led { orders, reports } => {
                let gone = || lost("the first card is gone".to_owned());
                reports.send(Report::Recorded(mine)).map_err(|_| gone())?;
                match orders.recv() {
                    Ok(Order::Recorded(all)) => all,
                    Ok(Order::Step(..)) => return Err(out_of_step()),
                    Err(_) => return Err(gone()),
                }
            }
        };
        match recorded {
            Ok(_) if !all => {
                let problem = "another card could not".to_owned();
                Err(DeviceError::Failed { act: "recording", problem })
            }
            recorded => recorded,
        }
    }

    /// Ends the others' threads. Their group is abandoned already.
    pub(super) fn dismiss(&mut self) {
        let Self::First { others, in_step: _ } = std::mem::take(self) else { return };
        for Other { rank: _, orders, reports, thread } in others {
            drop((orders, reports));
            // What it panicked with was said as it did.
            let _ = thread.join();
        }
    }
}

impl CudaBackend {
    /// Computes a step on all cards: `own` is the first's, all others run it as it was written. Where any fails, all are
    /// lost: what the others added up meanwhile is of no use.
    pub(super) fn together<T>(
        &mut self,
        inputs: &StepInputs,
        fit: bool,
        own: impl FnOnce(&mut Self) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let value = self.begin_together(inputs, fit, own)?;
        self.end_together(|_| Ok(value))
    }

    /// The same up to a step's begin, which is all that `own` does; [`Self::end_together`] is to follow.
    pub(super) fn begin_together<T>(
        &mut self,
        inputs: &StepInputs,
        fit: bool,
        own: impl FnOnce(&mut Self) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        if let Role::Alone = self.role {
            return own(self);
        }
        let begun = self.role.begin(inputs, fit).and_then(|()| own(self));
        begun.map_err(|error| self.fall(error))
    }

    /// Waits for the step that was begun: on the first card by `own`, then on all others.
    pub(super) fn end_together<T>(
        &mut self,
        own: impl FnOnce(&mut Self) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        if let Role::Alone = self.role {
            return own(self);
        }
        let ended = own(self).and_then(|value| self.role.end().map(|()| value));
        ended.map_err(|error| self.fall(error))
    }

    /// Ends the group for what went wrong on one of its cards.
    fn fall(&mut self, error: DeviceError) -> DeviceError {
        self.device.abandon(&error.to_string());
        match error {
            error @ DeviceError::Lost { act: _, problem: _ } => error,
            error @ (DeviceError::OutOfMemory { .. }
            | DeviceError::Full { .. }
            | DeviceError::Launch { .. }
            | DeviceError::Failed { .. }) => lost(format!("rank 0 failed: {error}")),
        }
    }
}

/// Does what the first card says, until that is gone or this one fails.
fn follow(mut backend: CudaBackend) {
    loop {
        let Role::Led { orders, reports: _ } = &backend.role else { return };
        let Ok(Order::Step(inputs, fit)) = orders.recv() else { return };
        // What went wrong is this step's to tell.
        let computed = backend.run(&inputs, fit).and_then(|()| backend.device.synchronize());
        if let Err(error) = &computed {
            // Or the first would wait on its card for this one.
            backend.device.abandon(&error.to_string());
        }
        let failed = computed.is_err();
        let report = computed.map_or_else(|error| Report::Failed(error.to_string()), |()| Report::Done);
        let Role::Led { orders: _, reports } = &backend.role else { return };
        if reports.send(report).is_err() || failed {
            return;
        }
    }
}

fn lost(problem: String) -> DeviceError {
    DeviceError::Lost { act: COMPUTING, problem }
}

fn out_of_step() -> DeviceError {
    lost("a card does what no other does; this is a defect of the server".to_owned())
}

/// What several cards are at.
const COMPUTING: &str = "computing on several cards";

#[cfg(test)]
mod tests {
    use super::*;

    /// A first card with one other, whose ends are the test's.
    fn first() -> (Role, Receiver<Order>, SyncSender<Report>) {
        let (orders, told) = sync_channel(ON_THEIR_WAY);
        let (reports, heard) = sync_channel(ON_THEIR_WAY);
        let thread = std::thread::spawn(|| ());
        let others = vec![Other { rank: 1, orders, reports: heard, thread }];
        (Role::First { others, in_step: false }, told, reports)
    }

    #[test]
    fn a_step_that_one_card_could_not_record_is_replayed_by_none() {
        for theirs in [true, false] {
            let (mut role, told, reports) = first();
            reports.send(Report::Recorded(theirs)).unwrap();
            let agreed = role.agree(Ok(Recording(3)));
            assert!(matches!(told.try_recv(), Ok(Order::Recorded(all)) if all == theirs));
            match agreed {
                Ok(recording) => assert!(theirs && recording == Recording(3)),
                Err(DeviceError::Failed { act: _, problem }) => {
                    assert!(!theirs && problem == "another card could not");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn a_card_whose_thread_ended_is_lost() {
        let (mut role, told, reports) = first();
        drop((told, reports));
        let said = role.agree(Ok(Recording(0))).unwrap_err().to_string();
        assert!(said.contains("the thread of rank 1 ended"), "{said}");
    }
}
