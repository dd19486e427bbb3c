//! Fields that no other dialect knows, on their way back into this one.

use crate::canonical::{Dialect, Extra, ForeignField, Inexpressible, Losses, Request};

/// Gives this dialect's own fields back to the objects that held them, and loses what is left.
pub(super) struct ForeignFields<'a> {
    fields: Vec<&'a ForeignField>,
    own: bool,
}

impl<'a> ForeignFields<'a> {
    /// Those of `request`.
    pub(super) fn of(request: &'a Request) -> Self {
        Self { fields: request.foreign.iter().collect(), own: request.origin == Dialect::Gemini }
    }

    /// The fields that the object at `parent` held, if they are this dialect's.
    pub(super) fn take(&mut self, parent: &str) -> Extra {
        if !self.own {
            return Extra::new();
        }
        let (taken, left) = self.fields.iter().partition::<Vec<_>, _>(|field| field.parent == parent);
        self.fields = left;
        taken.into_iter().map(|field| (field.name.clone(), field.value.clone())).collect()
    }

    /// What no object took is lost; hints go without being refused.
    pub(super) fn lose_rest(self, losses: &mut Losses) -> Result<(), Inexpressible> {
        self.fields.into_iter().try_for_each(|field| losses.lose_foreign(field))
    }
}
