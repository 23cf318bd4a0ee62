//! What clients connect to: services (vip:port/proto) for the packet path, listeners for the proxy.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{ObjectRef, RouteTable};

/// VIPs and services that the packet path has room for, together.
pub const MOST_SERVICES: usize = 8_192;

/// Transport protocol of a service.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Protocol {
    /// IP protocol 6.
    Tcp,
    /// IP protocol 17.
    Udp,
}

impl Protocol {
    /// The protocol's number in an IP header.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// A service's address as clients use it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ServiceAddress {
    /// The VIP.
    pub vip: IpAddr,
    /// The port, not 0.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = SocketAddr::new(self.vip, self.port);
        match self.protocol {
            Protocol::Tcp => write!(f, "{address}/tcp"),
            Protocol::Udp => write!(f, "{address}/udp"),
        }
    }
}

/// A port of a VIP, for the packet path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// The Service object that names it.
    pub object: ObjectRef,
    /// Whether the proxy listens for it. Until L4 Services are built, nothing serves the others.
    pub has_listener: bool,
}

/// What the proxy speaks on a listener.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ListenerProtocol {
    /// HTTP/1.1, and HTTP/2 with prior knowledge, in the clear.
    Http,
    /// HTTP/1.1 or HTTP/2 by ALPN over TLS.
    Https,
}

impl ListenerProtocol {
    /// The scheme of its URLs.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A TCP port of a VIP on which the proxy answers; its key in the snapshot is its address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// The Service object that names it.
    pub object: ObjectRef,
    /// What it speaks.
    pub protocol: ListenerProtocol,
    /// The IngressClasses whose routes it answers. A route never answers on another class's listener.
    pub classes: BTreeSet<String>,
    /// Those routes, merged; shared by all listeners of the same classes.
    pub routes: Arc<RouteTable>,
}
