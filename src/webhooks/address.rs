//! Where an endpoint may be: its URL, and the addresses that its name resolves to.
//!
//! Invariant: an address is checked after the name was resolved and right before the connection is made to that same address, so
//! whoever controls the name cannot point it at this network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;

/// A URL that events may be sent to: https, or http to this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub uri: Uri,
    pub host: String,
    pub port: u16,
    pub is_tls: bool,
    /// Whether the host is written as this machine: `localhost` or a loopback address.
    pub is_loopback: bool,
}

impl Target {
    /// None for any other URL.
    pub fn parse(url: &str) -> Option<Self> {
        // `Uri` would drop a fragment without a word, and take spaces for an error only sometimes.
        if url.contains('#') || url.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return None;
        }
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let bare = authority.as_str().len() == authority.host().len();
        let port = authority.port_u16().filter(|port| *port > 0);
        if !bare && port.is_none() {
            return None;
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        let (is_tls, usual) = match uri.scheme_str()? {
            "https" => (true, 443),
            "http" if is_loopback => (false, 80),
            _ => return None,
        };
        if host.is_empty() {
            return None;
        }
        Some(Self { port: port.unwrap_or(usual), host, is_tls, is_loopback, uri })
    }

    /// The URL without its query, which may hold a token of the receiver.
    pub fn shown(&self) -> String {
        let (scheme, path) = (if self.is_tls { "https" } else { "http" }, self.uri.path());
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        format!("{scheme}://{authority}{path}")
    }

    /// Whether a connection may be made to this address of the host; why not, and what to do, for people.
    pub(super) fn judge(&self, ip: IpAddr, private: bool) -> Result<(), &'static str> {
        let ip = ip.to_canonical();
        if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err("is not the address of a single host: configure the host's own address");
        }
        // A host that is not written as this machine is not this machine, whatever its name resolves to; and the other way round.
        match (ip.is_loopback(), self.is_loopback) {
            (true, true) => Ok(()),
            (true, false) if private && self.is_tls => Ok(()),
            (true, false) => Err("is this machine: write localhost in the URL if that is meant"),
            (false, true) => Err("is not this machine, which the URL names"),
            (false, false) if private || is_public(ip) => Ok(()),
            (false, false) => {
                Err("is not a public address: set allow_private_addresses = true for this webhook if that is meant")
            }
        }
    }
}

/// Whether the address belongs to the public internet, by IANA's registries of special-purpose addresses
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>, and the one of IPv6).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    const SPECIAL: [(Ipv4Addr, u32); 15] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 0, 0, 0), 24),
        (Ipv4Addr::new(192, 0, 2, 0), 24),
        (Ipv4Addr::new(192, 88, 99, 0), 24),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(198, 18, 0, 0), 15),
        (Ipv4Addr::new(198, 51, 100, 0), 24),
        (Ipv4Addr::new(203, 0, 113, 0), 24),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
        (Ipv4Addr::new(240, 0, 0, 0), 4),
    ];
    let bits = ip.to_bits();
    !SPECIAL.iter().any(|(network, length)| (bits ^ network.to_bits()) >> (32 - length) == 0)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // Translated to IPv4 (NAT64), or wrapped around it (6to4): as public as what is inside.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Protocol assignments, among them Teredo, benchmarking and ORCHID; documentation, old and new.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        // Only this eighth of all addresses is given out.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Target {
        fn allows(&self, ip: IpAddr, private: bool) -> bool {
            self.judge(ip, private).is_ok()
        }
    }

    #[test]
    fn a_url_is_https_or_this_machine() {
        for (url, host, port, is_tls) in [
            ("https://orders.example/hooks?token=a", "orders.example", 443, true),
            ("https://Orders.example:8443", "orders.example", 8443, true),
            ("https://192.0.2.7/x", "192.0.2.7", 443, true),
            ("https://[2001:db8::1]:9/", "2001:db8::1", 9, true),
            ("http://127.0.0.1:9000/hooks", "127.0.0.1", 9000, false),
            ("http://localhost/", "localhost", 80, false),
            ("http://[::1]:80/a", "::1", 80, false),
        ] {
            let target = Target::parse(url).unwrap_or_else(|| panic!("{url}"));
            assert_eq!((&*target.host, target.port, target.is_tls), (host, port, is_tls), "{url}");
        }
        for url in [
            "",
            "orders.example",
            "/hooks",
            "http://orders.example/",
            "http://10.0.0.7/",
            "ftp://localhost/",
            "https://",
            "https://user:secret@orders.example/",
            "https://orders.example:0/",
            "https://orders.example:/",
            "https://a b/",
            "https://orders.example:99999/",
            "https://orders.example/#part",
            "http://localhost.example/",
            "https:///x",
        ] {
            assert_eq!(Target::parse(url), None, "{url}");
        }
        let shown = Target::parse("https://orders.example/hooks?token=secret").unwrap().shown();
        assert_eq!(shown, "https://orders.example/hooks");
    }

    #[test]
    fn private_addresses_only_where_that_is_allowed() {
        let target = Target::parse("https://orders.example/").unwrap();
        for ip in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "203.0.113.1",
            "240.0.0.1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "100::1",
            "5f00::1",
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "0.1.2.3",
            "192.88.99.1",
        ] {
            let ip = ip.parse().unwrap();
            assert!(!target.allows(ip, false) && target.allows(ip, true), "{ip}");
        }
        for ip in
            ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1", "64:ff9b::808:808", "2002:808:808::", "192.0.1.1"]
        {
            let ip = ip.parse().unwrap();
            assert!(target.allows(ip, false) && target.allows(ip, true), "{ip}");
        }
        for ip in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
            let told = target.judge(ip.parse().unwrap(), false).unwrap_err();
            assert!(!told.contains("allow_private_addresses"), "that would not help: {told}");
            assert!(!target.allows(ip.parse().unwrap(), true), "{ip}");
        }
    }

    #[test]
    fn this_machine_is_only_where_it_is_written() {
        let [here, plain] = ["https://localhost/", "http://127.0.0.1/"].map(|url| Target::parse(url).unwrap());
        for ip in ["127.0.0.1", "::1", "127.9.9.9"] {
            assert!(here.allows(ip.parse().unwrap(), false) && plain.allows(ip.parse().unwrap(), false), "{ip}");
        }
        for ip in ["8.8.8.8", "10.0.0.1"] {
            assert!(!here.allows(ip.parse().unwrap(), true) && !plain.allows(ip.parse().unwrap(), true), "{ip}");
        }
    }
}
