//! What should never be sent, from either side: numbers at the ends of their range, JSON nested without end, pages, redirects and
//! bodies that do not end. Every door meets it in front of an upstream of every kind, and answers in its own shape.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod answers;
mod bed;
mod call;
mod depth;
mod integers;
mod meddler;
