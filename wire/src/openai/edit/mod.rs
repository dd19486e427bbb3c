//! What a gateway that speaks this dialect alone reads and changes: the model's name, and what metering needs. The
//! lanes ([`crate::lane`]) read requests and answers of every dialect; [`RequestView`] is their view of one of these.

mod request;
mod response;

pub use request::RequestView;
pub use response::{ResponseView, TokenDetails, UsageView};
