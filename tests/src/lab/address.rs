//! The lab's address plan, pure: documentation ranges only (RFC 5737, RFC 3849). It is the one that the objects
//! in `deploy/examples` name, so that they work here as they stand.
//!
//! | part | IPv4 | IPv6 |
//! |---|---|---|
//! | edge node n | 198.51.100.(10 + n) | 2001:db8:e:n::2 |
//! | pod k of app a | 192.0.2.(10a + k) | 2001:db8:f:(10a + k)::2 |
//! | client | 192.0.2.100 | 2001:db8:c::2 |
//! | relay | 192.0.2.101 | 2001:db8:a::2 |
//! | router, towards each | 198.51.100.1, 192.0.2.1 | ::1 of the same /64 |
//! | VIPs | 203.0.113.0/24 | 2001:db8:53::/64 |
//!
//! Links are point to point: IPv4 addresses are host addresses (/32), each IPv6 link has a /64.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most edge nodes that a lab can have.
pub const MAX_EDGES: u8 = 8;

/// Most apps, and most pods of one app, that a lab can have.
pub const MAX_PODS: u8 = 8;

/// The prefix that the router spreads over the edge nodes.
pub const VIPS_V4: (Ipv4Addr, u8) = (Ipv4Addr::new(203, 0, 113, 0), 24);

/// As `VIPS_V4`.
pub const VIPS_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0), 64);

/// The VIP of `deploy/examples`.
pub const VIP: Addresses = Addresses {
    v4: Ipv4Addr::new(203, 0, 113, 10),
    v6: Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0x10),
};

/// An address of each family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// IPv4.
    pub v4: Ipv4Addr,
    /// IPv6.
    pub v6: Ipv6Addr,
}

impl Addresses {
    /// Both, IPv4 first.
    #[must_use]
    pub fn both(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// Both ends of one link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// The router's end.
    pub router: Addresses,
    /// The other end.
    pub host: Addresses,
}

impl Link {
    /// The client's link.
    #[must_use]
    pub fn client() -> Self {
        Self::new([192, 0, 2], 100, 0xc, 0)
    }

    /// The link of the relay, through which a run may lead packets.
    #[must_use]
    pub fn relay() -> Self {
        Self::new([192, 0, 2], 101, 0xa, 0)
    }

    /// The link of the edge node `n`, from 1.
    #[must_use]
    pub fn edge(n: u8) -> Self {
        assert!((1..=MAX_EDGES).contains(&n), "edge nodes are numbered from 1 to MAX_EDGES");
        Self::new([198, 51, 100], 10 + n, 0xe, n)
    }

    /// The link of the pod `pod` of the app `app`, both from 1.
    #[must_use]
    pub fn pod(app: u8, pod: u8) -> Self {
        let numbers = 1..=MAX_PODS;
        assert!(
            numbers.contains(&app) && numbers.contains(&pod),
            "apps and pods are numbered from 1 to MAX_PODS"
        );
        let n = 10 * app + pod;
        Self::new([192, 0, 2], n, 0xf, n)
    }

    fn new([a, b, c]: [u8; 3], host: u8, site: u16, n: u8) -> Self {
        let v6 = |end| Ipv6Addr::new(0x2001, 0xdb8, site, u16::from(n), 0, 0, 0, end);
        Self {
            router: Addresses { v4: Ipv4Addr::new(a, b, c, 1), v6: v6(1) },
            host: Addresses { v4: Ipv4Addr::new(a, b, c, host), v6: v6(2) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_hosts_share_an_address() {
        let pods = (1..=MAX_PODS).flat_map(|app| (1..=MAX_PODS).map(move |pod| Link::pod(app, pod)));
        let links: Vec<Link> =
            (1..=MAX_EDGES).map(Link::edge).chain(pods).chain([Link::client(), Link::relay()]).collect();
        let hosts: BTreeSet<IpAddr> = links.iter().flat_map(|link| link.host.both()).collect();
        assert_eq!(hosts.len(), 2 * links.len());
        assert!(links.iter().all(|link| link.router.both().iter().all(|router| !hosts.contains(router))));
    }
}
