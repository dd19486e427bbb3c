//! Fields that no other dialect knows, on their way back into this one.

use crate::canonical::{Dialect, Extra, ForeignField, Inexpressible, Losses, Request};

/// Gives this dialect's own fields back to the objects that held them, and loses what is left.
pub(super) struct ForeignFields<'a> {
    fields: Vec<&'a ForeignField>,
    remarks: Vec<&'a ForeignField>,
    own: bool,
}

impl<'a> ForeignFields<'a> {
    /// Those of `request`.
    pub(super) fn of(request: &'a Request) -> Self {
        Self {
            fields: request.foreign.iter().collect(),
            remarks: request.remarks.iter().collect(),
            own: request.origin == Dialect::Gemini,
        }
    }

    /// The fields that the object at `parent` held, if they are this dialect's.
    pub(super) fn take(&mut self, parent: &str) -> Extra {
        if !self.own {
            return Extra::new();
        }
        let mut taken = Extra::new();
        for fields in [&mut self.fields, &mut self.remarks] {
            fields.retain(|field| {
                let held = field.parent == parent;
                if held {
                    taken.insert(field.name.clone(), field.value.clone());
                }
                !held
            });
        }
        taken
    }

    /// What no object took is lost; hints and remarks go without being refused.
    pub(super) fn lose_rest(self, losses: &mut Losses) -> Result<(), Inexpressible> {
        self.remarks.into_iter().for_each(|field| losses.waive(field.path()));
        self.fields.into_iter().try_for_each(|field| losses.lose_foreign(field))
    }
}
