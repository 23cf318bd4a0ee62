//! Whose word about a client's address counts: that of proxies in front of us, which are named by their addresses.

use std::net::IpAddr;

use ipnet::IpNet;

/// The proxies in front of us. By default there is none: the client's address is the connection's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trust {
    /// Those whose `X-Forwarded-*` and `Forwarded` headers are believed.
    pub headers: Vec<IpNet>,
    /// Those that begin each connection with a PROXY header.
    pub proxy_protocol: Vec<IpNet>,
}

impl Trust {
    /// Whether this one's headers are believed.
    pub(super) fn believes(&self, peer: IpAddr) -> bool {
        contains(&self.headers, peer)
    }

    /// Whether this one is no client, but has the connections of many.
    pub(super) fn is_in_front(&self, peer: IpAddr) -> bool {
        self.believes(peer) || self.expects_header(peer)
    }

    /// Whether this one begins with a PROXY header.
    pub(super) fn expects_header(&self, peer: IpAddr) -> bool {
        contains(&self.proxy_protocol, peer)
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}
