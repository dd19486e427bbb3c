//! Which call a result answers: by id, and where an older client gives none, by name and order.

use crate::canonical::Mint;

/// The calls of a conversation as it is read.
pub(super) struct CallIds {
    mint: Mint,
    calls: Vec<Call>,
}

struct Call {
    id: String,
    name: String,
    minted: bool,
    answered: bool,
}

impl CallIds {
    /// No calls yet. The seed is fixed: a conversation that is sent again, longer, gets the same ids, so that an
    /// upstream's prompt cache still knows it.
    pub(super) fn new() -> Self {
        Self { mint: Mint::new("gemini history"), calls: Vec::new() }
    }

    /// The id of a call that is made here.
    pub(super) fn called(&mut self, id: Option<String>, name: &str) -> String {
        let given = id.filter(|id| !id.is_empty());
        let minted = given.is_none();
        let id = given.unwrap_or_else(|| self.mint.call_id());
        self.calls.push(Call { id: id.clone(), name: name.to_owned(), minted, answered: false });
        id
    }

    /// The call that a result answers; `None` where there is none.
    pub(super) fn answered(&mut self, id: Option<String>, name: &str) -> Option<String> {
        let given = id.filter(|id| !id.is_empty());
        let known = given.as_deref().and_then(|id| self.calls.iter().position(|call| call.id == id));
        let found = known.or_else(|| {
            self.calls
                .iter()
                .position(|call| !call.answered && call.name == name && (call.minted || given.is_none()))
        });
        match found.and_then(|index| self.calls.get_mut(index)) {
            Some(call) => {
                call.answered = true;
                Some(call.id.clone())
            }
            None => given,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_without_ids_answer_the_calls_of_their_name_in_order() {
        let mut ids = CallIds::new();
        let first = ids.called(None, "f");
        let other = ids.called(None, "g");
        let second = ids.called(Some(String::new()), "f");
        assert_eq!(ids.answered(None, "g"), Some(other));
        assert_eq!(ids.answered(None, "f"), Some(first.clone()));
        assert_eq!(ids.answered(None, "f"), Some(second.clone()));
        assert_eq!(ids.answered(None, "f"), None);
        assert!(first != second && !first.is_empty());
    }

    #[test]
    fn an_id_wins_over_order() {
        let mut ids = CallIds::new();
        ids.called(Some("a".into()), "f");
        ids.called(Some("b".into()), "f");
        assert_eq!(ids.answered(Some("a".into()), "f").as_deref(), Some("a"));
        assert_eq!(ids.answered(None, "f").as_deref(), Some("b"));
        assert_eq!(ids.answered(Some("elsewhere".into()), "f").as_deref(), Some("elsewhere"));
    }
}
