//! Who is who between our own parts. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustls::pki_types::{InvalidDnsNameError, ServerName};

/// What every name of ours ends with. `.internal` is nobody's on the public network (ICANN, 2024), and no resolver is
/// asked for it: authorities of ours are trusted for these names and by nobody else.
pub const DOMAIN: &str = "weighbridge.internal";

/// Whom a certificate of our own authority names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Every gateway of the installation.
    Gateway,
    /// The engines of a ModelDeployment.
    Engine {
        /// Namespace of the ModelDeployment.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The proxy of an ExternalProvider.
    Proxy {
        /// Namespace of the ExternalProvider.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Identity {
    /// The name in the certificate. A resource's name and a namespace hold no dot, so that no two identities are alike.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => write!(f, "gateway.{DOMAIN}"),
            Self::Engine { namespace, name } => write!(f, "{name}.{namespace}.engine.{DOMAIN}"),
            Self::Proxy { namespace, name } => write!(f, "{name}.{namespace}.proxy.{DOMAIN}"),
        }
    }
}

impl Identity {
    /// The word for it in metrics.
    pub fn role(&self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Engine { .. } => "engine",
            Self::Proxy { .. } => "proxy",
        }
    }

    /// The name as a certificate is checked for it.
    ///
    /// # Errors
    /// Where a resource is named as none can be.
    pub fn server_name(&self) -> Result<ServerName<'static>, InvalidDnsNameError> {
        ServerName::try_from(self.to_string())
    }

    /// The host under which a client calls this identity at `address`: the first label says where, the others who. So
    /// each pod has connections of its own, and each is checked for who answers there.
    pub fn host_at(&self, address: IpAddr) -> String {
        let label = match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                format!("{a}-{b}-{c}-{d}")
            }
            // Written out: a label may not begin with the `-` that `::` would leave.
            IpAddr::V6(v6) => v6.segments().map(|segment| format!("{segment:x}")).join("-"),
        };
        format!("{label}.{self}")
    }

    /// What [`Identity::host_at`] put together: where, and the name of who.
    pub fn parts_of_host(host: &str) -> Option<(IpAddr, &str)> {
        let (label, who) = host.split_once('.')?;
        let parts: Vec<&str> = label.split('-').collect();
        let address = match parts.len() {
            4 => parts.join(".").parse::<Ipv4Addr>().ok()?.into(),
            8 => parts.join(":").parse::<Ipv6Addr>().ok()?.into(),
            _ => return None,
        };
        Some((address, who))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(namespace: &str, name: &str) -> Identity {
        Identity::Engine { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn no_two_identities_have_one_name() {
        let proxy = Identity::Proxy { namespace: "team".to_owned(), name: "m".to_owned() };
        let all = [Identity::Gateway, engine("team", "m"), engine("m", "team"), engine("team-m", "m"), proxy];
        let names: std::collections::BTreeSet<String> = all.iter().map(Identity::to_string).collect();
        assert_eq!(names.len(), all.len());
        assert!(names.contains("m.team.engine.weighbridge.internal"), "{names:?}");
        for identity in all {
            assert!(identity.server_name().is_ok(), "{identity}");
        }
    }

    #[test]
    fn a_host_says_where_and_who() {
        let longest = engine(&"n".repeat(63), &"m".repeat(40));
        for identity in [engine("team", "m"), longest] {
            for address in ["10.0.0.1", "::1", "fd00:10:244::5", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"] {
                let address: IpAddr = address.parse().expect("an address");
                let host = identity.host_at(address);
                assert_eq!(Identity::parts_of_host(&host), Some((address, identity.to_string().as_str())));
                assert!(ServerName::try_from(host.clone()).is_ok(), "{host}");
            }
        }
        for host in ["", "localhost", "m.team", "10-0-0.m.team", "10-0-0-256.m", "x-0-0-1.m.team"] {
            assert_eq!(Identity::parts_of_host(host), None, "{host}");
        }
    }
}
