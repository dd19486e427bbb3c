//! What a gateway reads and changes of an answer in this dialect that passes as it came: the model's name, and what
//! metering needs. Requests, and every other dialect, are [`crate::lane`]'s.

mod response;

pub use response::{ResponseView, TokenDetails, UsageView};
