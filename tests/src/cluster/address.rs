//! The cluster's address plan, pure: documentation ranges only. VIPs are the lab's, so that `deploy/examples` apply.
//!
//! | part | IPv4 | IPv6 |
//! |---|---|---|
//! | node n | 198.51.100.(10 + n) | 2001:db8:e:n::2 |
//! | pods of node n | 192.0.2.(32n)/27 | 2001:db8:f:n::/64 |
//! | client | 198.51.100.2 | 2001:db8:c::2 |
//! | router, towards each | 198.51.100.1 | ::1 of the same /64 |
//! | API server, on the router | 198.51.100.100 | |
//! | Services | 198.51.100.128/25 | 2001:db8:ff::/112 |
//! | VIPs | 203.0.113.0/24 | 2001:db8:53::/64 |

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::lab::address::{Addresses, Link};

/// Most nodes that a cluster can have.
pub const MAX_NODES: u8 = 7;

/// The API server, seen from inside.
pub(crate) const API: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 100);

/// The Service `kubernetes`: the first address of the range.
pub(crate) const KUBERNETES: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 129);

/// For the API server's flag.
pub(crate) const SERVICES: &str = "198.51.100.128/25,2001:db8:ff::/112";

/// All pods, for kube-proxy.
pub(crate) const PODS: &str = "192.0.2.0/24,2001:db8:f::/48";

const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// The link of node `n`, from 1.
pub(crate) fn node(n: u8) -> Link {
    link(10 + n, 0xe, n)
}

/// The client's link.
pub(crate) fn client() -> Link {
    link(2, 0xc, 0)
}

/// The pods of node `n`: prefixes with their lengths.
pub(crate) fn pods(n: u8) -> ((Ipv4Addr, u8), (Ipv6Addr, u8)) {
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0xf, u16::from(n), 0, 0, 0, 0);
    ((Ipv4Addr::new(192, 0, 2, 32 * n), 27), (v6, 64))
}

fn link(host: u8, site: u16, n: u8) -> Link {
    let v6 = |end| Ipv6Addr::new(0x2001, 0xdb8, site, u16::from(n), 0, 0, 0, end);
    let v4 = Ipv4Addr::new(198, 51, 100, host);
    Link { router: Addresses { v4: ROUTER, v6: v6(1) }, host: Addresses { v4, v6: v6(2) } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_nodes_share_an_address_or_a_prefix() {
        let hosts: BTreeSet<_> =
            (1..=MAX_NODES).map(node).chain([client()]).map(|link| link.host.both()).collect();
        assert_eq!(hosts.len(), usize::from(MAX_NODES) + 1);
        let pods: BTreeSet<_> = (1..=MAX_NODES).map(pods).collect();
        assert_eq!(pods.len(), usize::from(MAX_NODES));
        assert!(hosts.iter().all(|[v4, _]| *v4 != API && *v4 != KUBERNETES));
    }
}
