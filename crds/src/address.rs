//! Which addresses a provider may have: what the rule of `baseURL` says of its text, said of what the text comes to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address of Azure's platform services: public by its number, internal by its use.
const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Whether `ip` is on the public internet. Loopback, private, link-local (cloud metadata), carrier-grade
/// NAT, multicast and reserved ranges are not, nor is an IPv6 form that carries such an IPv4 address.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

/// Whether `host`, a name in lower case, is one that never leads to the public internet.
pub fn is_internal_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or(host);
    matches!(last, "localhost" | "local") || host == "metadata.google.internal"
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let special = matches!(
        ip.octets(),
        [0 | 10 | 127, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..]
    );
    !special && ip != AZURE_WIRE_SERVER
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(carried) = carried_v4(ip) {
        return is_public_v4(carried);
    }
    // 2000::/3 is all that is handed out; in it, 2001:db8::/32 is for documents and 2001::/23 for protocols.
    match ip.segments() {
        [0x2001, 0x0db8, ..] => false,
        [0x2001, second, ..] if second < 0x0200 => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// The IPv4 address inside a mapped, NAT64 or 6to4 address.
fn carried_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(of(high, low)),
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_not_public() {
        for ip in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "fe80::1",
            "fd00:ec2::254",
            "fc00::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "::7f00:1",
        ] {
            assert!(!is_public(ip.parse().expect("an address")), "{ip}");
        }
    }

    #[test]
    fn names_that_lead_inside_are_known() {
        for host in ["localhost", "a.localhost.", "printer.local", "local", "metadata.google.internal"] {
            assert!(is_internal_name(host), "{host}");
        }
        for host in ["api.example.com", "localhost.example.com", "notlocal", "google.internal.example"] {
            assert!(!is_internal_name(host), "{host}");
        }
    }

    #[test]
    fn public_addresses_are() {
        for ip in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:8.8.8.8"]
        {
            assert!(is_public(ip.parse().expect("an address")), "{ip}");
        }
    }
}
