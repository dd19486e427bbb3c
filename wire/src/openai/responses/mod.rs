//! `POST /v1/responses`: the request, its items, and the answer. The stream's events hold the same items.
//!
//! Types keep the fields they do not know in `extra`. Nothing is stored here, so what needs a store is only named.

mod item;
mod request;
mod response;

pub use item::{Item, ItemContent, ItemPart, Summary};
pub use request::{Input, ResponsesRequest};
pub use response::{IncompleteDetails, InputDetails, OutputDetails, ResponseObject, ResponsesUsage};
