//! Where a fragment goes: to its collector, or with its datagram's flow, of which the first part tells and each node on
//! the way remembers it for the others. Numbers in, a number out: in the kernel it is a function of its own.

use lb_common::encap::{Chain, INNER_V4, INNER_V6, PackedChain};
use lb_common::fragment::{Datagram, DatagramKey};
use lb_common::hash::{Ports, Tuple, flow_hash};
use lb_common::limit::Limit;
use lb_common::map::{Config, Service, service};
use lb_common::row::{NO_MEMBER, Row};
use lb_common::verdict::{DropReason, Verdict};

use crate::frame::{Frame, Maps};
use crate::ip::{Family, Packet, TCP, UDP, V4, V6, ports};
use crate::keys::{Both, Keys};
use crate::process::row_in_force;
use crate::select::way;
use crate::walk::{MAX_OFFSET, Next, Walk};

/// A fragment for a VIP. Plain integers: it goes to a function of its own in the kernel.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Fragment {
    pub(crate) datagram: DatagramKey,
    /// Of the datagram.
    pub(crate) hash: u64,
    /// The chain with which it came, packed; 0 if it comes from a client.
    pub(crate) chain: u64,
    /// Where its IP header begins, from the frame's start.
    offset: u16,
    /// Where its bytes of the datagram begin.
    payload: u16,
    /// Where they end.
    end: u16,
    /// Bytes of the datagram in front of them.
    before: u16,
    /// The number of the protocol that the datagram carries; of IPv6 only the first part's is to be believed.
    protocol: u8,
    is_v6: u8,
    zero: [u8; 6],
}

const _: () = assert!(size_of::<Fragment>() == size_of::<DatagramKey>() + 2 * 8 + 4 * 2 + 2 + 6);

impl Fragment {
    /// The fragment `packet`, whose IP header is at `offset`; `None` if it is cut short.
    #[inline(always)]
    pub(crate) fn of<F: Family>(
        frame: &impl Frame,
        offset: usize,
        packet: &Packet<F>,
        config: &Config,
    ) -> Option<Self> {
        let part = F::part(frame, offset, packet)?;
        Some(Self {
            datagram: part.datagram,
            hash: part.datagram.hash(&config.key),
            chain: 0,
            offset: offset as u16,
            payload: part.payload as u16,
            end: offset as u16 + packet.len,
            before: part.before,
            protocol: part.protocol,
            is_v6: u8::from(F::INNER == INNER_V6),
            zero: [0; 6],
        })
    }

    /// Whether another member sent it.
    #[inline(always)]
    pub(crate) const fn has_come(&self) -> bool {
        self.chain != 0
    }

    /// Whether its collector has seen it.
    #[inline(always)]
    pub(crate) const fn is_collected(&self) -> bool {
        PackedChain(self.chain).is_collected()
    }

    /// Whether it has its datagram's ports.
    #[inline(always)]
    pub(crate) const fn is_first(&self) -> bool {
        self.before == 0
    }

    /// Where its IP header begins, from the frame's start.
    #[inline(always)]
    pub(crate) fn offset(&self) -> usize {
        usize::from(self.offset & MAX_OFFSET)
    }

    /// The number of its IP version within a packet.
    #[inline(always)]
    pub(crate) const fn family(&self) -> u8 {
        if self.is_v6 == 1 { INNER_V6 } else { INNER_V4 }
    }

    /// Whether it is a part of a ping, or of what else ICMP has.
    #[inline(always)]
    const fn is_icmp(&self) -> bool {
        self.protocol == if self.is_v6 == 1 { V6::ICMP } else { V4::ICMP }
    }

    /// The flow with these ports from its source to its destination.
    #[inline(always)]
    const fn flow(&self, ports: Ports) -> Tuple {
        let DatagramKey { source, destination, .. } = self.datagram;
        if self.is_v6 == 1 {
            Tuple::V6 { source, destination, ports }
        } else {
            Tuple::V4 { source: source[0] as u32, destination: destination[0] as u32, ports }
        }
    }

    /// The service at a port of its destination.
    #[inline(always)]
    fn service<'m, M: Maps>(&self, maps: &'m M, port: u16, protocol: u8) -> Option<&'m Service> {
        let vip = self.datagram.destination;
        if self.is_v6 == 1 {
            V6::service(maps, vip, port, protocol)
        } else {
            V4::service(maps, vip[0] as u32, port, protocol)
        }
    }
}

/// Where a fragment goes: the chain to send it with, or what becomes of it here (`Verdict::Held`: its datagram's first
/// part has not come yet).
#[inline(always)]
pub fn follow(fragment: &Fragment, frame: &impl Frame, maps: &impl Maps) -> Next {
    match to_flow(fragment, frame, maps) {
        Ok(next) => next,
        Err(reason) => Next::verdict(reason),
    }
}

#[inline(always)]
fn to_flow(fragment: &Fragment, frame: &impl Frame, maps: &impl Maps) -> Result<Next, DropReason> {
    let config = maps.config().ok_or(DropReason::NotConfigured)?;
    let chain = PackedChain(fragment.chain);
    if !fragment.has_come() {
        let collector = collector(fragment, maps, config)?;
        if collector != config.member {
            way(maps, collector)?;
            return Ok(Next::sent(Chain::to_opener(Row::of(collector)).packed()));
        }
    } else if !fragment.is_collected() || chain.is_alone() {
        if config.member == NO_MEMBER || !chain.is_alone() || chain.member(0) != config.member {
            return Err(DropReason::NotMyHop);
        }
        if fragment.is_collected() {
            // Its kernel puts the parts together in whatever order they come.
            return Ok(Next::verdict(Verdict::DeliveredMember));
        }
    }
    if fragment.is_icmp() {
        // No flow's: the collector's kernel puts a large ping together, and answers.
        return Ok(Next::verdict(Verdict::OtherProtocol));
    }
    let Some(ports) = learned(fragment, frame, maps)? else { return Ok(Next::verdict(Verdict::Held)) };
    let row = if fragment.is_collected() {
        fragment.chain
    } else {
        match row_of(fragment, maps, config, ports)? {
            Ok(row) if row.is_alone() => return alone(fragment, maps, config, row),
            Ok(row) => row.bits(),
            Err(verdict) => return Ok(Next::verdict(verdict)),
        }
    };
    let transport = (fragment.before == 0).then_some(usize::from(fragment.payload));
    let flow = fragment.flow(ports);
    let walk = Walk::of_tuple(flow, transport, row, config.member, fragment.is_collected());
    let next = frame.walk(&walk);
    Ok(next.chain().map_or(next, |chain| Next::sent(chain.collected())))
}

/// The member at which the parts of a datagram come together: every first hop finds the same one.
#[inline(always)]
fn collector(fragment: &Fragment, maps: &impl Maps, config: &Config) -> Result<u16, DropReason> {
    let vip = fragment.service(maps, 0, 0).ok_or(DropReason::NotAVip)?;
    Ok(row_in_force(maps, config, vip.table, fragment.hash)?.opener())
}

/// The ports of its flow: of the first part its own, which this node remembers for the others.
#[inline(always)]
fn learned(fragment: &Fragment, frame: &impl Frame, maps: &impl Maps) -> Result<Option<Ports>, DropReason> {
    let header = header_len(fragment.protocol);
    let now = maps.now();
    if fragment.before != 0 {
        if fragment.before < header {
            return Err(DropReason::TinyFragment);
        }
        return Ok(maps.datagram(&fragment.datagram).and_then(|datagram| datagram.ports(now)));
    }
    if !matches!(fragment.protocol, TCP | UDP) {
        return Err(DropReason::Fragment);
    }
    let (payload, end) = (usize::from(fragment.payload & MAX_OFFSET), usize::from(fragment.end));
    if payload + usize::from(header) > end {
        return Err(DropReason::TinyFragment);
    }
    let ports = ports(frame, payload, end, fragment.protocol).ok_or(DropReason::TinyFragment)?;
    maps.remember(&fragment.datagram, &Datagram::new(ports, now));
    Ok(Some(ports))
}

/// What the first part must hold of a transport header, bytes: all that is looked at here, so that no later part
/// writes over it.
#[inline(always)]
const fn header_len(protocol: u8) -> u16 {
    if protocol == TCP { 20 } else { 8 }
}

/// The row of a flow that its collector finds, or what becomes of a fragment without one.
#[inline(always)]
fn row_of(
    fragment: &Fragment,
    maps: &impl Maps,
    config: &Config,
    ports: Ports,
) -> Result<Result<Row, Verdict>, DropReason> {
    let Some(found) = fragment.service(maps, ports.destination, ports.protocol) else {
        return if maps.allows(Limit::Refusal) {
            Ok(Err(Verdict::NoService))
        } else {
            Err(DropReason::RefusalLimit)
        };
    };
    maps.count_traffic(found.index, fragment.end.wrapping_sub(fragment.offset));
    if found.flags & service::LISTENER == 0 {
        return Err(DropReason::NoLocalService);
    }
    let flow = fragment.flow(ports);
    Ok(Ok(Both::row(maps, config, found.table, &flow, flow_hash(&config.key, &flow))?))
}

/// The step in a row of one member.
#[inline(always)]
fn alone(fragment: &Fragment, maps: &impl Maps, config: &Config, row: Row) -> Result<Next, DropReason> {
    if row.opener() == config.member {
        let verdict = if fragment.has_come() { Verdict::DeliveredMember } else { Verdict::DeliveredFirstHop };
        return Ok(Next::verdict(verdict));
    }
    way(maps, row.opener())?;
    Ok(Next::sent(Chain::to_opener(row).packed().collected()))
}
