//! Member: proves that an encapsulated packet is ours and takes the outer headers off.

use lb_common::encap::{HEADER_LEN, Header, HeaderError, INNER_V4};
use lb_common::hash::{Ports, flow_hash};
use lb_common::map::{Config, member};
use lb_common::row::{MemberId, NO_MEMBER};
use lb_common::verdict::DropReason;

use crate::access::Window;
use crate::frame::{Frame, Maps};
use crate::ip::{CONGESTION, Family, Packet, Transport, UDP, V4, V6};
use crate::link::Link;

const UDP_LEN: usize = 8;
const ECN: u8 = 3;
const NOT_ECT: u8 = 0;

/// Whether a flow's packet is an encapsulated one for this node.
#[inline(always)]
pub(crate) fn is_encapsulated<F: Family>(config: &Config, packet: &Packet<F>, ports: Ports) -> bool {
    ports.protocol == UDP && ports.destination == config.port && packet.destination == F::local(config)
}

/// Takes the client's packet out of `outer`.
#[inline(always)]
pub(crate) fn receive<F: Family>(
    frame: &mut impl Frame,
    maps: &impl Maps,
    link: &Link,
    outer: &Packet<F>,
    config: &Config,
) -> Result<(), DropReason> {
    let header = Window::<HEADER_LEN>::new(frame, outer.payload + UDP_LEN)
        .ok_or(DropReason::MalformedEncap)?
        .load::<Header, 0>();
    let offset = outer.payload + UDP_LEN + HEADER_LEN;
    match header.inner() {
        Ok(INNER_V4) => open::<V4>(frame, maps, link, outer.tos, config, &header, offset),
        Ok(_) => open::<V6>(frame, maps, link, outer.tos, config, &header, offset),
        Err(HeaderError::NotGue) => Err(DropReason::MalformedEncap),
        Err(HeaderError::Version) => Err(DropReason::UnknownVersion),
    }
}

/// Nothing that the packet says is believed before its tag is right.
#[inline(always)]
fn open<F: Family>(
    frame: &mut impl Frame,
    maps: &impl Maps,
    link: &Link,
    outer_tos: u8,
    config: &Config,
    header: &Header,
    offset: usize,
) -> Result<(), DropReason> {
    if header.cluster() != config.cluster {
        return Err(DropReason::WrongCluster);
    }
    let inner = F::parse(frame, offset).ok_or(DropReason::MalformedEncap)?;
    let Transport::Flow(ports) = inner.transport else { return Err(DropReason::MalformedEncap) };
    if !header.is_tagged(&config.key, flow_hash(&config.key, &inner.tuple(ports))) {
        return Err(DropReason::BadTag);
    }
    check_chain(maps, header, config.member)?;
    if !inner.is_for_vip(maps) {
        return Err(DropReason::NotAVip);
    }
    carry_congestion::<F>(frame, outer_tos, inner.tos, offset)?;
    unwrap::<F>(frame, link, offset).ok_or(DropReason::MalformedEncap)
}

/// All members of the chain must be known, and its current hop must be this node.
#[inline(always)]
fn check_chain(maps: &impl Maps, header: &Header, this: MemberId) -> Result<(), DropReason> {
    let chain = header.chain();
    for id in chain.row.members() {
        let is_known = id == NO_MEMBER || maps.member(id).is_some_and(|m| m.flags & member::KNOWN != 0);
        if !is_known {
            return Err(DropReason::UnknownChain);
        }
    }
    if this == NO_MEMBER || chain.target() != Some(this) {
        return Err(DropReason::NotMyHop);
    }
    Ok(())
}

/// Congestion met between first hop and member is told to the client's connection (RFC 6040, figure 4).
#[inline(always)]
fn carry_congestion<F: Family>(
    frame: &mut impl Frame,
    outer: u8,
    inner: u8,
    offset: usize,
) -> Result<(), DropReason> {
    if outer & ECN != CONGESTION || inner & ECN == CONGESTION {
        return Ok(());
    }
    if inner & ECN == NOT_ECT {
        return Err(DropReason::EcnLost);
    }
    F::mark_congestion(frame, offset).ok_or(DropReason::MalformedEncap)
}

/// Moves the frame's start so that the link header stands right before the inner packet at `offset`.
#[inline(always)]
fn unwrap<F: Family>(frame: &mut impl Frame, link: &Link, offset: usize) -> Option<()> {
    let addresses = Window::<12>::new(frame, 0)?;
    let (destination, source) = (addresses.load::<[u8; 6], 0>(), addresses.load::<[u8; 6], 6>());
    if !frame.adjust_head((offset - link.len()) as i32) {
        return None;
    }
    link.write(frame, destination, source, F::ETHERTYPE)
}
