//! Model sources against files on disk and against a hub that misbehaves. No test waits for time to pass.

mod hub;
mod local;
mod mischief;
mod refusals;
mod world;
