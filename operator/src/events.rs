use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use weighbridge_crds::condition::Reason;

use crate::apply::{Caller, Change, Verb};
use crate::owner::Owner;
use crate::status::ReadyChange;

/// Longest note that the API takes is 1 kB.
const LONGEST_NOTE: usize = 1000;

/// Tells people what happened, as Events on the parent.
///
/// An Event that is not taken is a line in the log and nothing more: it never holds up a reconcile.
#[derive(Clone)]
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

    /// Ready has another reason, or a trial is a step further.
    pub async fn ready(&self, owner: &Owner, change: &ReadyChange) {
        let type_ = if change.good
            || matches!(
                change.reason.as_str(),
                "Progressing"
                    | "ScaledToZero"
                    | "ProxyNotReady"
                    | "WaitingForOldPods"
                    | "CanaryProgressing"
                    | "CanaryPaused"
            ) {
            EventType::Normal
        } else {
            EventType::Warning
        };
        self.tell(owner, type_, &change.reason, "UpdateStatus", ready_note(change)).await;
    }

    /// An object can't be read, for this reason. Returns whether that was told.
    pub async fn unreadable(&self, object: &ObjectReference, why: &str) -> bool {
        let note = format!(
            "this version of the operator can't read it, and leaves all that was made for it as it is: {why}. What to do: \
             update the operator, or take what it does not know out of the spec"
        );
        self.publish(object, EventType::Warning, "Unreadable", "Read", note).await
    }

    async fn tell(&self, owner: &Owner, type_: EventType, reason: &str, action: &str, note: String) {
        self.publish(&owner.object_reference(), type_, reason, action, note).await;
    }

    async fn publish(
        &self,
        parent: &ObjectReference,
        type_: EventType,
        reason: &str,
        action: &str,
        mut note: String,
    ) -> bool {
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
        let published =
            self.caller.write("create", "Event", Box::pin(self.recorder.publish(&event, parent))).await;
        if let Err(error) = &published {
            let parent = parent.name.as_deref().unwrap_or_default();
            tracing::warn!(%error, parent, reason, "an Event was not taken");
        }
        published.is_ok()
    }
}

/// What is so, and what to do about it.
fn ready_note(change: &ReadyChange) -> String {
    let remedy = Reason::named(&change.reason).filter(|_| !change.good).map_or("", Reason::remedy);
    if remedy.is_empty() {
        return change.message.clone();
    }
    // The cause comes first: a note that is too long loses its end.
    format!("{}. What to do: {remedy}", change.message.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_what_is_not_well_says_what_to_do() {
        let note = |good, reason: &str| {
            ready_note(&ReadyChange { good, reason: reason.to_owned(), message: "words".to_owned() })
        };
        assert!(note(false, "ImagePull").starts_with("words. What to do: "), "{}", note(false, "ImagePull"));
        assert_eq!(note(true, "Serving"), "words");
        assert_eq!(note(false, "OfALaterVersion"), "words");
    }
}
