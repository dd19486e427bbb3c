//! What the apiserver itself takes and refuses, by the CRDs: a file for each kind. Every rule of a CRD refuses something in it, and lets what it is about through elsewhere.

mod accesses;
mod caches;
mod models;
mod profiles;
mod providers;
mod rules;
