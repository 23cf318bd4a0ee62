//! Which socket gets a connection to a VIP: the proxy's, or none. Without this, whatever on the node
//! listens on a wildcard address would answer on VIPs.

use lb_common::map::{LISTENER_V4, LISTENER_V6, Service, service};

use crate::frame::Maps;
use crate::ip::{Family, V4, V6};

/// The local end of a socket look-up.
#[derive(Clone, Copy, Debug)]
pub enum Lookup {
    /// For an IPv4 packet; the address in network order.
    V4(u32),
    /// For an IPv6 packet; the address in network order.
    V6([u64; 2]),
}

/// Which socket it is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// Not a VIP: the kernel looks as ever.
    Kernel,
    /// The socket at this index of `LISTENERS`.
    Listener(u32),
    /// None: the kernel refuses the packet (RST, port unreachable).
    Refuse,
}

/// Chooses for a look-up of `protocol` at `port` (network order).
#[inline(always)]
pub fn choose(maps: &impl Maps, lookup: Lookup, port: u16, protocol: u8) -> Choice {
    match lookup {
        Lookup::V4(vip) => at::<V4>(maps, vip, port, protocol, LISTENER_V4),
        Lookup::V6(vip) => at::<V6>(maps, vip, port, protocol, LISTENER_V6),
    }
}

#[inline(always)]
fn at<F: Family>(maps: &impl Maps, vip: F::Address, port: u16, protocol: u8, listener: u32) -> Choice {
    let found = F::service(maps, vip, port, protocol).or_else(|| F::service(maps, vip, 0, 0));
    match found {
        Some(Service { flags, .. }) if flags & service::LISTENER != 0 => Choice::Listener(listener),
        Some(_) => Choice::Refuse,
        None => Choice::Kernel,
    }
}
