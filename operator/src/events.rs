use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::apply::{Caller, Change, Verb};
use crate::owner::Owner;
use crate::status::ReadyChange;

/// Longest note that the API takes is 1 kB.
const LONGEST_NOTE: usize = 1000;

/// Tells people what happened, as Events on the parent.
///
/// An Event that is not taken is a line in the log and nothing more: it never holds up a reconcile.
pub struct Events {
    recorder: Recorder,
    caller: Caller,
}

impl Events {
    /// Events reported by `instance` of the operator.
    pub fn new(client: Client, caller: Caller, instance: String) -> Self {
        let reporter = Reporter { controller: "weighbridge-operator".to_owned(), instance: Some(instance) };
        Events { recorder: Recorder::new(client, reporter), caller }
    }

    /// Children were written. One Event for each thing done, however many children it was done to.
    pub async fn changed(&self, owner: &Owner, changes: &[Change]) {
        for verb in [Verb::Created, Verb::Updated, Verb::Deleted] {
            let told: Vec<_> = changes.iter().filter(|change| change.verb == verb).collect();
            if !told.is_empty() {
                let note = told
                    .iter()
                    .map(|change| format!("{}: {}", change.child, change.why))
                    .collect::<Vec<_>>()
                    .join("; ");
                self.tell(owner, EventType::Normal, verb.as_str(), "Apply", note).await;
            }
        }
    }

    /// Ready has another reason.
    pub async fn ready(&self, owner: &Owner, change: &ReadyChange) {
        let type_ = if change.good
            || matches!(change.reason.as_str(), "Progressing" | "ScaledToZero" | "ProxyNotReady")
        {
            EventType::Normal
        } else {
            EventType::Warning
        };
        self.tell(owner, type_, &change.reason, "UpdateStatus", change.message.clone()).await;
    }

    async fn tell(&self, owner: &Owner, type_: EventType, reason: &str, action: &str, mut note: String) {
        if note.len() > LONGEST_NOTE {
            let end = (0..=LONGEST_NOTE).rev().find(|at| note.is_char_boundary(*at)).unwrap_or_default();
            note.truncate(end);
            note.push('…');
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: action.to_owned(),
            secondary: None,
        };
        let parent = owner.object_reference();
        let published =
            self.caller.write("create", "Event", Box::pin(self.recorder.publish(&event, &parent))).await;
        if let Err(error) = published {
            tracing::warn!(%error, parent = %owner.name(), reason, "an Event was not taken");
        }
    }
}
