use clap::Args;
use clap::builder::RangedU64ValueParser;

/// What a request's body may have where nobody says otherwise, in bytes: the default of gateways, proxies and engines.
pub const DEFAULT_BODY_BYTES: u64 = 32 << 20;
const DEFAULT_FIRST_BYTE_SECONDS: u64 = 600;
const DEFAULT_IDLE_SECONDS: u64 = 300;

/// Memory of a proxy for each byte of the largest body: its bodies get a fifth of its memory (the gateway crate's
/// `Limits::within`), and two of the largest must fit.
const MEMORY_FOR_BODY: u64 = 10;
/// Memory of a proxy at the least, in bytes: three bodies of the default size at once, and 3,276 connections.
const LEAST_PROXY_MEMORY: u64 = 512 << 20;

/// Bounds that gateways have and that what is behind them must share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Bounds {
    /// Largest body of a request, in bytes, at engines and provider proxies: what gateways let in must fit there.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_BODY_BYTES, value_parser = RangedU64ValueParser::<u64>::new().range(1..=1 << 30))]
    pub max_body_bytes: u64,
    /// Seconds until a provider begins its answer, at its proxy.
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_FIRST_BYTE_SECONDS, value_parser = seconds())]
    pub first_byte_timeout: u64,
    /// Seconds until a provider that has begun says more, at its proxy.
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_IDLE_SECONDS, value_parser = seconds())]
    pub idle_timeout: u64,
}

fn seconds() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(1..=604_800)
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_body_bytes: DEFAULT_BODY_BYTES,
            first_byte_timeout: DEFAULT_FIRST_BYTE_SECONDS,
            idle_timeout: DEFAULT_IDLE_SECONDS,
        }
    }
}

impl Bounds {
    /// Flags of an engine. What is its default anyway is not said: that would roll pods for nothing.
    pub(super) fn of_engine(self) -> Vec<String> {
        flags([("max-body-bytes", self.max_body_bytes, DEFAULT_BODY_BYTES)])
    }

    /// Flags of a proxy, likewise.
    pub(super) fn of_proxy(self) -> Vec<String> {
        let Self { max_body_bytes, first_byte_timeout, idle_timeout } = self;
        flags([
            ("max-body-bytes", max_body_bytes, DEFAULT_BODY_BYTES),
            ("first-byte-timeout", first_byte_timeout, DEFAULT_FIRST_BYTE_SECONDS),
            ("idle-timeout", idle_timeout, DEFAULT_IDLE_SECONDS),
        ])
    }

    /// Memory that a proxy needs for such bodies, in whole MiB.
    pub(super) fn proxy_memory_mebibytes(self) -> u64 {
        let needed = self.max_body_bytes.saturating_mul(MEMORY_FOR_BODY);
        needed.max(LEAST_PROXY_MEMORY).div_ceil(1 << 20)
    }
}

fn flags<const N: usize>(all: [(&str, u64, u64); N]) -> Vec<String> {
    let set = all.into_iter().filter(|(_, value, default)| value != default);
    set.map(|(name, value, _)| format!("--{name}={value}")).collect()
}
