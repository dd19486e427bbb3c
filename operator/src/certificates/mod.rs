//! Certificates between our own parts: one authority an installation, and what it signs: one certificate for all
//! gateways, one for each ModelDeployment's engines and each ExternalProvider's proxy.
//!
//! What is due when is `plan`'s to say, with the time given; here keys are made and certificates signed (`issue`), read
//! out of Secrets and put into them (`secret`), and the two Secrets that belong to no resource are kept (`keeper`).
//! A private key is in its Secret and, while it is being made, in this process; the authority's stays in its namespace.

mod issue;
mod keeper;
mod lifetimes;
mod secret;

pub use issue::{Authority, IssueError, Issuer, Leaf, Trust};
pub use keeper::{Keeper, KeeperError, Places};
pub use lifetimes::{LifetimeError, Lifetimes, lifetime};
pub use secret::{LeafData, LeafFacts, leaf_secret};
