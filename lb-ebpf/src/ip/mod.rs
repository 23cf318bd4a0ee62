//! The network layer, once per family: the steps are generic over `Family`, so that each family's path is
//! compiled on its own and asks nothing twice. What lies outside of the parser's bounds is no error: the
//! kernel may understand it.

mod v4;
mod v6;

use lb_common::fragment::DatagramKey;
use lb_common::hash::{Ports, Tuple};
use lb_common::map::{Config, Service};

use crate::access::Window;
use crate::flow::Quote;
use crate::frame::{Frame, Maps};

pub(crate) use v4::{V4, sum};
pub(crate) use v6::V6;

/// TCP's protocol number.
pub(crate) const TCP: u8 = 6;
/// UDP's protocol number.
pub(crate) const UDP: u8 = 17;

/// The TTL or hop limit of packets that begin here.
pub(crate) const TTL: u8 = 64;

/// Congestion experienced, of the two ECN bits (RFC 3168).
pub(crate) const CONGESTION: u8 = 3;

/// What differs between IPv4 and IPv6.
pub(crate) trait Family: Sized {
    /// An address in network order, as loaded.
    type Address: Copy + PartialEq;
    /// The ethertype, in network order.
    const ETHERTYPE: u16;
    /// The protocol number of such a packet within another.
    const INNER: u8;

    /// Bytes of a header without options.
    const LEN: usize;
    /// ICMP's protocol number.
    const ICMP: u8;
    /// ICMP's type of an echo request.
    const ECHO_REQUEST: u8;
    /// ICMP's type of its reply.
    const ECHO_REPLY: u8;
    /// ICMP's type and code of "too big for the next link".
    const TOO_BIG: [u8; 2];
    /// ICMP's type and code of "no hop left".
    const EXPIRED: [u8; 2];

    /// The packet at `offset`. `None` if it is malformed, cut short, or has more headers than are walked.
    fn parse(frame: &impl Frame, offset: usize) -> Option<Packet<Self>>;
    /// Source and destination of the packet at `offset`.
    fn addresses(frame: &impl Frame, offset: usize) -> Option<(Self::Address, Self::Address)>;
    /// Writes the header of an ICMP message of `len` bytes at `offset`. The sum of what the message's checksum covers of
    /// it, of words in this machine's order.
    fn write(
        frame: &mut impl Frame,
        offset: usize,
        source: Self::Address,
        destination: Self::Address,
        len: u16,
    ) -> Option<u32>;
    /// What an ICMP error that ends at `end` quotes from `offset` on; `None` if that shows no flow. The quoted packet
    /// may be cut off anywhere behind its ports.
    fn quoted(frame: &impl Frame, offset: usize, end: usize) -> Option<Quote<Self>>;
    /// What a fragment, whose IP header is at `offset`, says of its datagram.
    fn part(frame: &impl Frame, offset: usize, packet: &Packet<Self>) -> Option<Part>;
    /// Whether the packet at `offset` may be cut on its way.
    fn may_be_cut(frame: &impl Frame, offset: usize) -> bool;
    /// Whether an ICMP type is that of an error about a packet.
    fn is_error(kind: u8) -> bool;
    /// The service at an address; port and protocol 0 for the VIP itself.
    fn service<M: Maps>(maps: &M, vip: Self::Address, port: u16, protocol: u8) -> Option<&Service>;
    /// The flow's identity.
    fn tuple(source: Self::Address, destination: Self::Address, ports: Ports) -> Tuple;
    /// This node's outer address.
    fn local(config: &Config) -> Self::Address;
    /// Whether an address is one host's: neither a group nor unspecified.
    fn is_host(address: Self::Address) -> bool;
    /// Makes the packet at `offset` one of this node to its source.
    fn turn_round(frame: &mut impl Frame, offset: usize) -> Option<()>;
    /// Takes one from the hops that the packet at `offset` may still go; false if that was its last one.
    fn spend_hop(frame: &mut impl Frame, offset: usize) -> bool;
    /// DSCP and ECN of the packet at `offset`.
    fn tos(frame: &impl Frame, offset: usize) -> Option<u8>;
    /// Sets the congestion mark on the packet at `offset`.
    fn mark_congestion(frame: &mut impl Frame, offset: usize) -> Option<()>;
}

/// An IP packet within a frame.
#[derive(Clone, Copy)]
pub(crate) struct Packet<F: Family> {
    pub(crate) source: F::Address,
    pub(crate) destination: F::Address,
    pub(crate) transport: Transport,
    /// The number of the protocol in `transport`.
    pub(crate) protocol: u8,
    /// Where the transport header starts, from the frame's start.
    pub(crate) payload: usize,
    /// Length in bytes by its own header: Ethernet padding does not count.
    pub(crate) len: u16,
    /// DSCP and ECN: type of service or traffic class.
    pub(crate) tos: u8,
}

/// What follows the IP header.
#[derive(Clone, Copy)]
pub(crate) enum Transport {
    /// TCP or UDP.
    Flow(Ports),
    /// A part of a datagram: its ports, if it has any, tell nothing about the other parts.
    Fragment,
    /// Another protocol.
    Other,
}

/// A fragment's place in its datagram.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    /// The datagram.
    pub(crate) datagram: DatagramKey,
    /// The number of the protocol that the datagram carries; of IPv6 only the first part's is to be believed.
    pub(crate) protocol: u8,
    /// Bytes of the datagram in front of this part.
    pub(crate) before: u16,
    /// Where its bytes of the datagram start, from the frame's start.
    pub(crate) payload: usize,
}

impl<F: Family> Packet<F> {
    /// Whether it is a fragment.
    #[inline(always)]
    pub(crate) const fn is_fragment(&self) -> bool {
        matches!(self.transport, Transport::Fragment)
    }

    /// Whether it is an ICMP message.
    #[inline(always)]
    pub(crate) fn is_icmp(&self) -> bool {
        matches!(self.transport, Transport::Other) && self.protocol == F::ICMP
    }

    /// Whether it is for a VIP.
    #[inline(always)]
    pub(crate) fn is_for_vip(&self, maps: &impl Maps) -> bool {
        F::service(maps, self.destination, 0, 0).is_some()
    }
}

/// The ports at `offset` of a packet that ends at `end`, both from the frame's start.
#[inline(always)]
pub(crate) fn ports(frame: &impl Frame, offset: usize, end: usize, protocol: u8) -> Option<Ports> {
    if end < offset + 4 {
        return None;
    }
    let both = Window::<4>::new(frame, offset)?.load::<u32, 0>();
    Some(Ports { source: both as u16, destination: (both >> 16) as u16, protocol })
}

/// Whether the frame holds `len` bytes from `offset` on.
#[inline(always)]
fn has(frame: &impl Frame, offset: usize, len: u16) -> bool {
    frame.end() - frame.start() >= offset + usize::from(len)
}
