//! YAML as people write it: read strictly with no cluster, and the CRDs' own manifests written.
//!
//! Strict reading gives what the apiserver would say: unknown fields, types and bounds from the schema,
//! then the CEL rules, and no object twice. Nothing here reads a file.

mod generate;
mod native;
mod parse;
mod schema;
#[cfg(test)]
mod tests;

pub use generate::generated;
pub use parse::{Manifest, ManifestError, parse};
