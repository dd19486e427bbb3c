//! Everything that needs more than one crate: the testbed, real clients, benchmarks.

pub mod certificates;
pub mod controllers;
pub mod cpu;
pub mod demo;
pub mod door;
pub mod engine;
pub mod faults;
pub mod figures;
pub mod gateways;
pub mod gpu;
pub mod log;
pub mod matrix;
pub mod measured;
pub mod operator;
pub mod scripted;
pub mod simulator;
pub mod testbed;
