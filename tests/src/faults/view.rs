//! How the operator sees the cluster: what a watch tells, when, and what it leaves out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::bug::Bug;
use super::call::Call;
use super::fault::View;
use super::http::Apiserver;
use super::kinds::Kind;
use super::world::{Change, Key, Stored};

/// For how long events are swallowed or gathered.
const GATHER: Duration = Duration::from_secs(8);

/// One watch that is open.
pub struct Watching {
    server: Apiserver,
    call: Call,
    changes: watch::Receiver<u64>,
    ends: Instant,
    sent: u64,
    over: bool,
}

impl Watching {
    /// Opens what `call` asks for.
    pub fn new(server: Apiserver, call: Call) -> Self {
        let number = |name: &str| call.query.get(name).and_then(|text| text.parse().ok());
        let ends = Instant::now() + Duration::from_secs(number("timeoutSeconds").unwrap_or(290));
        let sent = number("resourceVersion").unwrap_or_default();
        Watching { changes: server.shared.changes(), ends, server, call, sent, over: false }
    }

    /// The next events, or none when the watch ends.
    pub async fn next(&mut self) -> Option<Vec<Value>> {
        while !self.over {
            let (view, armed, past, delay) = {
                let mut state = self.server.state();
                let past = state.past.filter(|(_, until)| Instant::now() < *until);
                let delay = Duration::from_millis(state.dice.roll(15_000));
                (state.plan.view, state.armed, past, delay)
            };
            self.changes.mark_unchanged();
            let until = past.map_or(self.server.shared.lock().revision(), |(revision, _)| revision);
            let Some(waiting) = self.take(until, false) else { return Some(self.expired()) };
            if !waiting.is_empty() {
                match view {
                    View::Dropped if armed => {
                        sleep(GATHER).await;
                        return Some(self.expired());
                    }
                    View::Coalesced if armed => sleep(GATHER).await,
                    View::Reordered if armed => sleep(delay).await,
                    View::Dropped | View::Coalesced | View::Reordered | View::Fresh | View::Stale(_) => {}
                }
                let until = past.map_or(self.server.shared.lock().revision(), |(revision, _)| revision);
                let coalesced = view == View::Coalesced && armed;
                let Some(events) = self.take(until, coalesced) else { return Some(self.expired()) };
                self.sent = until;
                return Some(events);
            }
            self.sent = self.sent.max(until);
            let wake = past.map_or(self.ends, |(_, until)| until.min(self.ends));
            tokio::select! {
                _ = self.changes.changed() => {}
                () = sleep_until(wake) => {}
            }
            if Instant::now() >= self.ends {
                self.over = true;
                let Kind { kind, api_version, .. } = self.call.kind;
                let meta = json!({"resourceVersion": self.sent.to_string()});
                let bookmark = json!({"kind": kind, "apiVersion": api_version, "metadata": meta});
                return Some(vec![json!({"type": "BOOKMARK", "object": bookmark})]);
            }
        }
        None
    }

    /// The watch ends, and whoever watches lists anew.
    fn expired(&mut self) -> Vec<Value> {
        self.over = true;
        let status = json!({"kind": "Status", "code": 410, "reason": "Expired", "status": "Failure",
            "message": "too old resource version"});
        vec![json!({"type": "ERROR", "object": status})]
    }

    /// Events after what was sent and up to `until`. None where the past is forgotten.
    fn take(&self, until: u64, coalesced: bool) -> Option<Vec<Value>> {
        let world = self.server.shared.lock();
        let mut changes = world.changes(self.call.kind.kind, self.sent, until)?;
        if coalesced {
            changes = coalesce(changes);
        }
        let mut events: Vec<Value> = changes.iter().filter_map(|change| self.event(change)).collect();
        if let Some(bug) = self.server.bug {
            events.iter_mut().for_each(|event| bug.tells(self.call.kind.kind, &mut event["object"], &world));
            events.retain(|event| bug != Bug::DeafToDeletions || event["type"] != "DELETED");
        }
        Some(events)
    }

    fn event(&self, change: &Change) -> Option<Value> {
        let fits = |object: &&Value| self.call.fits(object);
        let before = change.before.as_ref().map(|stored| &stored.object).filter(fits);
        let now = change.after.as_ref().map(|stored| &stored.object);
        let (type_, object) = match (before, now.filter(fits)) {
            (None, None) => return None,
            (None, Some(now)) => ("ADDED", now.clone()),
            (Some(_), Some(now)) => ("MODIFIED", now.clone()),
            (Some(before), None) => {
                let mut gone = now.unwrap_or(before).clone();
                gone["metadata"]["resourceVersion"] = json!(change.revision.to_string());
                ("DELETED", gone)
            }
        };
        Some(json!({"type": type_, "object": object}))
    }
}

/// One change an object: from what it was first to what it is last. Another object under the name is two.
fn coalesce(changes: Vec<Change>) -> Vec<Change> {
    let mut merged: BTreeMap<Key, Change> = BTreeMap::new();
    for change in changes {
        match merged.get_mut(&change.key) {
            Some(known) => (known.after, known.revision) = (change.after, change.revision),
            None => {
                merged.insert(change.key.clone(), change);
            }
        }
    }
    let uid = |stored: &Arc<Stored>| stored.object["metadata"]["uid"].clone();
    let mut all = Vec::new();
    for change in merged.into_values() {
        match (&change.before, &change.after) {
            (Some(before), Some(after)) if uid(before) != uid(after) => {
                all.push(Change { after: None, ..change.clone() });
                all.push(Change { before: None, ..change });
            }
            (None, None) => {}
            (Some(_) | None, Some(_) | None) => all.push(change),
        }
    }
    all.sort_by_key(|change| change.revision);
    all
}
