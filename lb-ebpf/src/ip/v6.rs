//! IPv6 (RFC 8200), with a bounded walk over extension headers.

use lb_common::encap::INNER_V6;
use lb_common::fragment::{DatagramKey, PROTOCOL_V6};
use lb_common::hash::{Ports, Tuple};
use lb_common::map::{Config, Service};
use lb_common::service_table::{ServiceKey6, candidates};

use super::{CONGESTION, Family, Packet, Part, TCP, TTL, Transport, UDP, has, ports};
use crate::access::Window;
use crate::flow::Quote;
use crate::frame::{Frame, Maps};
use crate::link::IPV6;

const HEADER_LEN: usize = 40;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// Bytes of a fragment's header.
const PART_LEN: usize = 8;

/// Extension headers that are skipped before a packet counts as not understood.
const MAX_EXTENSIONS: usize = 4;

pub(crate) struct V6;

impl Family for V6 {
    type Address = [u64; 2];
    const ETHERTYPE: u16 = IPV6;
    const INNER: u8 = INNER_V6;
    const LEN: usize = HEADER_LEN;
    const ICMP: u8 = 58;
    const ECHO_REQUEST: u8 = 128;
    const ECHO_REPLY: u8 = 129;
    const TOO_BIG: [u8; 2] = [2, 0];
    const EXPIRED: [u8; 2] = [3, 0];

    #[inline(always)]
    fn parse(frame: &impl Frame, offset: usize) -> Option<Packet<Self>> {
        let header = Window::<HEADER_LEN>::new(frame, offset)?;
        let first = u16::from_be(header.load::<u16, 0>());
        let len = u16::from_be(header.load::<u16, 4>()).checked_add(HEADER_LEN as u16)?;
        if first >> 12 != 6 || !has(frame, offset, len) {
            return None;
        }
        let (protocol, payload) = skip_extensions(frame, header.load::<u8, 6>(), offset + HEADER_LEN)?;
        let transport = match protocol {
            FRAGMENT => Transport::Fragment,
            TCP | UDP => Transport::Flow(ports(frame, payload, offset + usize::from(len), protocol)?),
            _ => Transport::Other,
        };
        Some(Packet {
            source: [header.load::<u64, 8>(), header.load::<u64, 16>()],
            destination: [header.load::<u64, 24>(), header.load::<u64, 32>()],
            transport,
            protocol,
            payload,
            len,
            tos: (first >> 4) as u8,
        })
    }

    #[inline(always)]
    fn addresses(frame: &impl Frame, offset: usize) -> Option<([u64; 2], [u64; 2])> {
        let header = Window::<HEADER_LEN>::new(frame, offset)?;
        Some((
            [header.load::<u64, 8>(), header.load::<u64, 16>()],
            [header.load::<u64, 24>(), header.load::<u64, 32>()],
        ))
    }

    #[inline(always)]
    fn write(
        frame: &mut impl Frame,
        offset: usize,
        source: [u64; 2],
        destination: [u64; 2],
        len: u16,
    ) -> Option<u32> {
        let header = Window::<HEADER_LEN>::new(frame, offset)?;
        let lives = u32::from(Self::ICMP) << 8 | u32::from(TTL);
        header.store::<u32, 0>((6_u32 << 28).to_be());
        header.store::<u32, 4>((u32::from(len) << 16 | lives).to_be());
        header.store::<u64, 8>(source[0]);
        header.store::<u64, 16>(source[1]);
        header.store::<u64, 24>(destination[0]);
        header.store::<u64, 32>(destination[1]);
        let addresses = sum(source[0]) + sum(source[1]) + sum(destination[0]) + sum(destination[1]);
        Some(addresses + u32::from(len.to_be()) + u32::from(u16::from(Self::ICMP).to_be()))
    }

    /// Of extension headers none is walked: our own packets have none.
    #[inline(always)]
    fn quoted(frame: &impl Frame, offset: usize, end: usize) -> Option<Quote<Self>> {
        let header = Window::<HEADER_LEN>::new(frame, offset)?;
        let protocol = header.load::<u8, 6>();
        if header.load::<u8, 0>() >> 4 != 6 || !matches!(protocol, TCP | UDP) {
            return None;
        }
        Some(Quote {
            source: [header.load::<u64, 8>(), header.load::<u64, 16>()],
            destination: [header.load::<u64, 24>(), header.load::<u64, 32>()],
            ports: ports(frame, offset + HEADER_LEN, end, protocol)?,
        })
    }

    #[inline(always)]
    fn part(frame: &impl Frame, _offset: usize, packet: &Packet<Self>) -> Option<Part> {
        let header = Window::<PART_LEN>::new(frame, packet.payload)?;
        let datagram = DatagramKey {
            source: packet.source,
            destination: packet.destination,
            id: header.load::<u32, 4>(),
            protocol: PROTOCOL_V6,
        };
        let before = u16::from_be(header.load::<u16, 2>()) & !7;
        Some(Part { datagram, protocol: header.load::<u8, 0>(), before, payload: packet.payload + PART_LEN })
    }

    /// Routers cut none.
    #[inline(always)]
    fn may_be_cut(_frame: &impl Frame, _offset: usize) -> bool {
        false
    }

    /// Unreachable, too big, time exceeded, parameter problem.
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 1..=4)
    }

    #[inline(always)]
    fn service<M: Maps>(maps: &M, vip: [u64; 2], port: u16, protocol: u8) -> Option<&Service> {
        let key = ServiceKey6::new(vip, port, protocol);
        let [first, second] = candidates(key);
        match maps.services6(first)?.find(key) {
            None => maps.services6(second)?.find(key),
            found => found,
        }
    }

    #[inline(always)]
    fn tuple(source: [u64; 2], destination: [u64; 2], ports: Ports) -> Tuple {
        Tuple::V6 { source, destination, ports }
    }

    #[inline(always)]
    fn local(config: &Config) -> [u64; 2] {
        config.local_v6
    }

    #[inline(always)]
    fn is_host(address: [u64; 2]) -> bool {
        const GROUP: u8 = 0xff;
        address != [0; 2] && address[0] as u8 != GROUP
    }

    #[inline(always)]
    fn turn_round(frame: &mut impl Frame, offset: usize) -> Option<()> {
        let header = Window::<HEADER_LEN>::new(frame, offset)?;
        let source = [header.load::<u64, 8>(), header.load::<u64, 16>()];
        let destination = [header.load::<u64, 24>(), header.load::<u64, 32>()];
        header.store::<u8, 7>(TTL);
        header.store::<u64, 8>(destination[0]);
        header.store::<u64, 16>(destination[1]);
        header.store::<u64, 24>(source[0]);
        header.store::<u64, 32>(source[1]);
        Some(())
    }

    #[inline(always)]
    fn spend_hop(frame: &mut impl Frame, offset: usize) -> bool {
        let Some(header) = Window::<HEADER_LEN>::new(frame, offset) else { return false };
        let left = header.load::<u8, 7>();
        if left <= 1 {
            return false;
        }
        header.store::<u8, 7>(left - 1);
        true
    }

    #[inline(always)]
    fn tos(frame: &impl Frame, offset: usize) -> Option<u8> {
        Some((u16::from_be(Window::<HEADER_LEN>::new(frame, offset)?.load::<u16, 0>()) >> 4) as u8)
    }

    #[inline(always)]
    fn mark_congestion(frame: &mut impl Frame, offset: usize) -> Option<()> {
        let header = Window::<HEADER_LEN>::new(frame, offset)?;
        // The traffic class lies across the first two bytes: ECN is bits 5 and 4 of the second.
        header.store::<u8, 1>(header.load::<u8, 1>() | CONGESTION << 4);
        Some(())
    }
}

/// Walks from header `next` at `offset` to the first one that is no extension, or is a fragment's.
#[inline(always)]
fn skip_extensions(frame: &impl Frame, mut next: u8, mut offset: usize) -> Option<(u8, usize)> {
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(next) {
            return Some((next, offset));
        }
        let header = Window::<2>::new(frame, offset)?;
        let len = usize::from(header.load::<u8, 1>());
        offset += if next == AUTHENTICATION { (len + 2) * 4 } else { (len + 1) * 8 };
        next = header.load::<u8, 0>();
    }
    if is_extension(next) { None } else { Some((next, offset)) }
}

#[inline(always)]
fn is_extension(header: u8) -> bool {
    matches!(header, HOP_BY_HOP | ROUTING | AUTHENTICATION | DESTINATION_OPTIONS)
}

/// The sum of a word's 16-bit words, in this machine's order.
#[inline(always)]
fn sum(word: u64) -> u32 {
    (word & 0xffff) as u32 + (word >> 16 & 0xffff) as u32 + (word >> 32 & 0xffff) as u32 + (word >> 48) as u32
}
