//! `cache_control`.

use serde::{Deserialize, Serialize};

use crate::canonical::{CacheMark, CacheTtl, Extra};

/// Cache the prompt up to here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheControl {
    /// `ephemeral`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `5m` or `1h`; five minutes where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Fields not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl CacheControl {
    pub(super) fn from_mark(mark: CacheMark) -> Self {
        let ttl = match mark.ttl {
            CacheTtl::FiveMinutes => None,
            CacheTtl::OneHour => Some("1h".to_owned()),
        };
        Self { kind: "ephemeral".to_owned(), ttl, extra: Extra::new() }
    }

    /// A hint: what it says beyond the two times changes no answer, and is not kept.
    pub(super) fn to_mark(&self) -> CacheMark {
        let ttl = if self.ttl.as_deref() == Some("1h") { CacheTtl::OneHour } else { CacheTtl::FiveMinutes };
        CacheMark { ttl }
    }
}
