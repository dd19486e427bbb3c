//! Tool calls of a stream, read piece by piece. Several may be under way at once.

use serde::de::IgnoredAny;

use crate::canonical::{Delta, Event, Mint, Opening, Unreadable, seal};

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    index: u32,
    /// As the server gave it; empty where it gave none.
    given_id: String,
    /// A custom tool is called, which takes free text.
    custom: bool,
    /// `None` until the call's name is known.
    block: Option<u32>,
    /// The arguments, or the free text.
    written: String,
    open: bool,
}

/// A piece of a call, and where its events go.
pub(super) struct Piece<'a> {
    pub choice: u32,
    pub index: Option<u32>,
    pub id: Option<String>,
    pub called: Called,
    /// The number of the answer's next block.
    pub next: &'a mut u32,
    pub mint: &'a mut Mint,
    pub events: &'a mut Vec<Event>,
}

/// What is called, as far as a piece says it.
pub(super) enum Called {
    Function { name: Option<String>, arguments: String },
    Custom { name: Option<String>, input: String },
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Takes a piece; returns which call it is of.
    pub(super) fn piece(&mut self, piece: Piece<'_>) -> Result<usize, Unreadable> {
        let Piece { choice, index, id, called, next, mint, events } = piece;
        let (custom, name, more) = match called {
            Called::Function { name, arguments } => (false, name, arguments),
            Called::Custom { name, input } => (true, name, input),
        };
        let id = id.filter(|id| !id.is_empty());
        let at = match self.find(index, id.as_deref()) {
            Some(at) => at,
            None => {
                self.close_complete(choice, events);
                let index = index.unwrap_or_else(|| u32::try_from(self.calls.len()).unwrap_or(u32::MAX));
                let given_id = id.unwrap_or_default();
                let (written, open) = (String::new(), true);
                self.calls.push(Call { index, given_id, custom, block: None, written, open });
                self.calls.len() - 1
            }
        };
        let Some(call) = self.calls.get_mut(at) else { return Ok(at) };
        let name = name.filter(|name| !name.is_empty());
        let waited = call.block.is_none();
        if let (None, Some(name)) = (call.block, name) {
            let block = *next;
            *next += 1;
            call.block = Some(block);
            let (id, signature) = match call.given_id.as_str() {
                "" => (mint.call_id(), None),
                given if call.custom => (given.to_owned(), None),
                given => seal::open_call_id(given),
            };
            let opening = if call.custom {
                Opening::CustomCall { id, name }
            } else {
                Opening::ToolCall { id, name, signature }
            };
            events.push(Event::BlockStart { choice, block, opening });
        }
        if !call.open && !more.trim().is_empty() {
            return Err(Unreadable::new("delta.tool_calls", "a call went on after its arguments were whole"));
        }
        call.written.push_str(&more);
        // What came before the name has waited for it.
        let fresh = if waited { call.written.clone() } else { more };
        if let (Some(block), false, true) = (call.block, fresh.is_empty(), call.open) {
            let delta = if call.custom { Delta::Input(fresh) } else { Delta::Arguments(fresh) };
            events.push(Event::BlockDelta { choice, block, delta });
        }
        Ok(at)
    }

    /// Ends them all.
    pub(super) fn close_all(&mut self, choice: u32, events: &mut Vec<Event>) -> Result<(), Unreadable> {
        for call in &mut self.calls {
            let Some(block) = call.block else {
                return Err(Unreadable::new("delta.tool_calls", "a call has no name"));
            };
            if std::mem::take(&mut call.open) {
                events.push(Event::BlockStop { choice, block });
            }
        }
        Ok(())
    }

    /// The call that a piece belongs to. A new id under a known index is a new call: some servers count every
    /// call as 0. Without an index it is the call of that id, or the last one.
    fn find(&self, index: Option<u32>, id: Option<&str>) -> Option<usize> {
        let known = |call: &Call| id.is_none_or(|id| call.given_id.is_empty() || call.given_id == id);
        match index {
            Some(index) => self
                .calls
                .iter()
                .rposition(|call| call.index == index)
                .filter(|at| self.calls.get(*at).is_some_and(known)),
            None => match id {
                Some(id) => self.calls.iter().rposition(|call| call.given_id == id),
                None => self.calls.len().checked_sub(1),
            },
        }
    }

    /// When a block begins, the calls before it are nearly always whole; closing them lets a client have them. Whole
    /// arguments can't grow, so nothing is lost by it.
    pub(super) fn close_complete(&mut self, choice: u32, events: &mut Vec<Event>) {
        for call in self.calls.iter_mut().filter(|call| call.open) {
            // Free text may always go on.
            let whole = !call.custom && serde_json::from_str::<IgnoredAny>(&call.written).is_ok();
            if let (Some(block), true) = (call.block, whole) {
                call.open = false;
                events.push(Event::BlockStop { choice, block });
            }
        }
    }
}
