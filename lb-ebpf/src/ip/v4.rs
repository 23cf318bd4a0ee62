//! IPv4 (RFC 791), options included.

use lb_common::checksum;
use lb_common::encap::INNER_V4;
use lb_common::fragment::DatagramKey;
use lb_common::hash::{Ports, Tuple};
use lb_common::map::{Config, Service};
use lb_common::service_table::{ServiceKey4, candidates};

use super::{CONGESTION, Family, Packet, Part, TCP, TTL, Transport, UDP, has, ports};
use crate::access::Window;
use crate::flow::Quote;
use crate::frame::{Frame, Maps};
use crate::link::IPV4;

const MIN_LEN: usize = 20;

/// "Don't fragment".
const DONT_FRAGMENT: u16 = 0x4000;

/// "More fragments" and the offset of this one.
const FRAGMENT_BITS: u16 = 0x3fff_u16.to_be();

/// The offset alone: a first fragment has the ports.
const FRAGMENT_OFFSET: u16 = 0x1fff_u16.to_be();

pub(crate) struct V4;

impl Family for V4 {
    type Address = u32;
    const ETHERTYPE: u16 = IPV4;
    const INNER: u8 = INNER_V4;
    const LEN: usize = MIN_LEN;
    const ICMP: u8 = 1;
    const ECHO_REQUEST: u8 = 8;
    const ECHO_REPLY: u8 = 0;
    const TOO_BIG: [u8; 2] = [3, 4];
    const EXPIRED: [u8; 2] = [11, 0];

    #[inline(always)]
    fn parse(frame: &impl Frame, offset: usize) -> Option<Packet<Self>> {
        let header = Window::<MIN_LEN>::new(frame, offset)?;
        let first = header.load::<u8, 0>();
        let len = u16::from_be(header.load::<u16, 2>());
        let header_len = usize::from(first & 0x0f) * 4;
        if first >> 4 != 4
            || header_len < MIN_LEN
            || usize::from(len) < header_len
            || !has(frame, offset, len)
        {
            return None;
        }
        let payload = offset + header_len;
        let protocol = header.load::<u8, 9>();
        let transport = match protocol {
            _ if header.load::<u16, 6>() & FRAGMENT_BITS != 0 => Transport::Fragment,
            TCP | UDP => Transport::Flow(ports(frame, payload, offset + usize::from(len), protocol)?),
            _ => Transport::Other,
        };
        Some(Packet {
            source: header.load::<u32, 12>(),
            destination: header.load::<u32, 16>(),
            transport,
            protocol,
            payload,
            len,
            tos: header.load::<u8, 1>(),
        })
    }

    #[inline(always)]
    fn addresses(frame: &impl Frame, offset: usize) -> Option<(u32, u32)> {
        let header = Window::<MIN_LEN>::new(frame, offset)?;
        Some((header.load::<u32, 12>(), header.load::<u32, 16>()))
    }

    #[inline(always)]
    fn write(frame: &mut impl Frame, offset: usize, source: u32, destination: u32, len: u16) -> Option<u32> {
        let header = Window::<MIN_LEN>::new(frame, offset)?;
        let len = len + MIN_LEN as u16;
        let lives = u16::from(TTL) << 8 | u16::from(Self::ICMP);
        let words = 0x4500 + u32::from(len) + u32::from(DONT_FRAGMENT) + u32::from(lives);
        let check = checksum::finish(words + sum(source) + sum(destination));
        header.store::<u32, 0>((0x4500 << 16 | u32::from(len)).to_be());
        header.store::<u32, 4>(u32::from(DONT_FRAGMENT).to_be());
        header.store::<u32, 8>((u32::from(lives) << 16 | u32::from(check)).to_be());
        header.store::<u32, 12>(source);
        header.store::<u32, 16>(destination);
        Some(0)
    }

    #[inline(always)]
    fn quoted(frame: &impl Frame, offset: usize, end: usize) -> Option<Quote<Self>> {
        let header = Window::<MIN_LEN>::new(frame, offset)?;
        let first = header.load::<u8, 0>();
        let header_len = usize::from(first & 0x0f) * 4;
        let protocol = header.load::<u8, 9>();
        if first >> 4 != 4
            || header_len < MIN_LEN
            || header.load::<u16, 6>() & FRAGMENT_OFFSET != 0
            || !matches!(protocol, TCP | UDP)
        {
            return None;
        }
        Some(Quote {
            source: header.load::<u32, 12>(),
            destination: header.load::<u32, 16>(),
            ports: ports(frame, offset + header_len, end, protocol)?,
        })
    }

    #[inline(always)]
    fn part(frame: &impl Frame, offset: usize, packet: &Packet<Self>) -> Option<Part> {
        let header = Window::<MIN_LEN>::new(frame, offset)?;
        let datagram = DatagramKey {
            source: [packet.source.into(), 0],
            destination: [packet.destination.into(), 0],
            id: header.load::<u16, 4>().into(),
            protocol: packet.protocol.into(),
        };
        let before = u16::from_be(header.load::<u16, 6>() & FRAGMENT_OFFSET) * 8;
        Some(Part { datagram, protocol: packet.protocol, before, payload: packet.payload })
    }

    #[inline(always)]
    fn may_be_cut(frame: &impl Frame, offset: usize) -> bool {
        Window::<MIN_LEN>::new(frame, offset)
            .is_some_and(|header| header.load::<u16, 6>() & DONT_FRAGMENT.to_be() == 0)
    }

    /// Unreachable, time exceeded, parameter problem. (Nobody heeds source quench: RFC 6633.)
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 11 | 12)
    }

    #[inline(always)]
    fn service<M: Maps>(maps: &M, vip: u32, port: u16, protocol: u8) -> Option<&Service> {
        let key = ServiceKey4::new(vip, port, protocol);
        let [first, second] = candidates(key);
        match maps.services4(first)?.find(key) {
            None => maps.services4(second)?.find(key),
            found => found,
        }
    }

    #[inline(always)]
    fn tuple(source: u32, destination: u32, ports: Ports) -> Tuple {
        Tuple::V4 { source, destination, ports }
    }

    #[inline(always)]
    fn local(config: &Config) -> u32 {
        config.local_v4
    }

    /// Classes D and E, broadcast and "this network" are nobody's.
    #[inline(always)]
    fn is_host(address: u32) -> bool {
        let first = address as u8;
        first != 0 && first < 224
    }

    #[inline(always)]
    fn turn_round(frame: &mut impl Frame, offset: usize) -> Option<()> {
        let header = Window::<MIN_LEN>::new(frame, offset)?;
        let (source, destination) = (header.load::<u32, 12>(), header.load::<u32, 16>());
        let old = header.load::<u16, 8>();
        let new = old & 0xff00 | u16::from(TTL);
        header.store::<u16, 8>(new);
        // The order of addresses does not change their sum.
        header.store::<u16, 10>(checksum::update(header.load::<u16, 10>(), old, new));
        header.store::<u32, 12>(destination);
        header.store::<u32, 16>(source);
        Some(())
    }

    #[inline(always)]
    fn spend_hop(frame: &mut impl Frame, offset: usize) -> bool {
        let Some(header) = Window::<MIN_LEN>::new(frame, offset) else { return false };
        let old = header.load::<u16, 8>();
        if old as u8 <= 1 {
            return false;
        }
        let new = old - 1;
        header.store::<u16, 8>(new);
        header.store::<u16, 10>(checksum::update(header.load::<u16, 10>(), old, new));
        true
    }

    #[inline(always)]
    fn tos(frame: &impl Frame, offset: usize) -> Option<u8> {
        Some(Window::<MIN_LEN>::new(frame, offset)?.load::<u8, 1>())
    }

    #[inline(always)]
    fn mark_congestion(frame: &mut impl Frame, offset: usize) -> Option<()> {
        let header = Window::<MIN_LEN>::new(frame, offset)?;
        let first = header.load::<u16, 0>();
        let marked = first | u16::from(CONGESTION).to_be();
        header.store::<u16, 10>(checksum::update(header.load::<u16, 10>(), first, marked));
        header.store::<u16, 0>(marked);
        Some(())
    }
}

/// The sum of an address's two words, in host order.
#[inline(always)]
pub(crate) fn sum(address: u32) -> u32 {
    let address = u32::from_be(address);
    (address >> 16) + (address & 0xffff)
}
