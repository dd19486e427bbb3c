//! The subset of OpenAPI's schemas that `parameters` and `responseSchema` take, from and to JSON Schema.
//!
//! One unknown keyword and Google refuses the whole request, so [`write`] lets nothing through that the subset lacks:
//! what can be said otherwise is, what changes nothing goes and is reported, and what changes the meaning is a loss by
//! its name. [`read`] is the way back.

mod keyword;
mod merge;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub(super) use read::to_json_schema;
pub(super) use write::from_json_schema;
