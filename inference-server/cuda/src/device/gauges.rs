//! What a card says of itself while it computes: a trait, so that tests can stand in for a card.

use std::fmt;

use super::DeviceDescription;

/// What a card said when it was asked. `None` is what it does not tell: a slice knows no power, for one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Bytes of memory in use, by every process on the card.
    pub memory_used: Option<u64>,
    /// Bytes of memory in all.
    pub memory_total: Option<u64>,
    /// Watts.
    pub power: Option<f64>,
    /// Share of the last moments, 0 to 1, in which a kernel ran.
    pub compute: Option<f64>,
    /// Share of the last moments, 0 to 1, in which memory was read or written.
    pub memory_copy: Option<f64>,
    /// Degrees Celsius.
    pub temperature: Option<f64>,
    /// Joules since the driver was loaded.
    pub energy: Option<f64>,
}

/// A card that can be asked how it does. Asking may take as long as the driver does: not for a thread that others wait for.
pub trait CardGauges: fmt::Debug + Send + Sync {
    /// Which card.
    fn description(&self) -> &DeviceDescription;

    /// How it does now.
    fn read(&self) -> Reading;
}
