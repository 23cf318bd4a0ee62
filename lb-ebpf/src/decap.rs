//! Member: proves that an encapsulated packet is ours, then takes the outer headers off, or sends it on to the
//! next member of its chain.

use lb_common::encap::{Direction, HEADER_LEN, Header, HeaderError, INNER_V4, PackedChain};
use lb_common::hash::{Ports, flow_hash};
use lb_common::map::{Config, config};
use lb_common::row::{MemberId, NO_MEMBER};
use lb_common::verdict::{DropReason, Verdict};

use crate::access::Window;
use crate::encap;
use crate::flow::{Flow, Subject};
use crate::frame::{Frame, Maps};
use crate::ip::{CONGESTION, Family, Packet, Transport, UDP, V4, V6};
use crate::keys::Keys;
use crate::link::{Addresses, Link};
use crate::process::{Fate, stay};
use crate::quic;
use crate::select::{self, Step};
use crate::walk::Walk;

pub(crate) const UDP_LEN: usize = 8;
const ECN: u8 = 3;
const NOT_ECT: u8 = 0;

/// Whether a flow's packet is an encapsulated one for this node.
#[inline(always)]
pub(crate) fn is_encapsulated<F: Family>(config: &Config, packet: &Packet<F>, ports: Ports) -> bool {
    ports.protocol == UDP && ports.destination == config.port && packet.destination == F::local(config)
}

/// Takes the client's packet out of `outer`, or sends it on.
#[inline(always)]
pub(crate) fn receive<F: Family, S: Subject, K: Keys>(
    frame: &mut impl Frame,
    maps: &impl Maps,
    link: &Link,
    outer: &Packet<F>,
    config: &Config,
) -> Result<Fate, DropReason> {
    let header = header(frame, outer)?.load::<Header, 0>();
    match header.inner() {
        Ok(INNER_V4) => open::<F, V4, S, K>(frame, maps, link, outer, config, &header),
        Ok(_) => open::<F, V6, S, K>(frame, maps, link, outer, config, &header),
        Err(error) => Err(refused(error)),
    }
}

/// Where our header should be in `outer`. (Loaded here, it would be copied once more: the packet path would grow by a
/// fourteenth.)
#[inline(always)]
pub(crate) fn header<F: Family>(
    frame: &impl Frame,
    outer: &Packet<F>,
) -> Result<Window<HEADER_LEN>, DropReason> {
    Window::<HEADER_LEN>::new(frame, outer.payload + UDP_LEN).ok_or(DropReason::MalformedEncap)
}

/// Why a header that is none of ours is refused.
#[inline(always)]
pub(crate) const fn refused(error: HeaderError) -> DropReason {
    match error {
        HeaderError::NotGue => DropReason::MalformedEncap,
        HeaderError::Version => DropReason::UnknownVersion,
    }
}

/// The packet in `outer` and where it starts, if the header is this cluster's.
#[inline(always)]
pub(crate) fn inner<O: Family, F: Family>(
    frame: &impl Frame,
    link: &Link,
    outer: &Packet<O>,
    config: &Config,
    header: &Header,
) -> Result<(usize, Packet<F>), DropReason> {
    if header.cluster() != config.cluster {
        return Err(DropReason::WrongCluster);
    }
    let offset = outer.payload + UDP_LEN + HEADER_LEN;
    let inner = F::parse(frame, offset).ok_or(DropReason::MalformedEncap)?;
    // No tag is over the lengths. What stands behind the outer packet in the frame is no part of it.
    if offset + usize::from(inner.len) != link.len() + usize::from(outer.len) {
        return Err(DropReason::MalformedEncap);
    }
    Ok((offset, inner))
}

/// Nothing that the packet says is believed before its tag is right.
#[inline(always)]
fn open<O: Family, F: Family, S: Subject, K: Keys>(
    frame: &mut impl Frame,
    maps: &impl Maps,
    link: &Link,
    outer: &Packet<O>,
    config: &Config,
    header: &Header,
) -> Result<Fate, DropReason> {
    let (offset, inner) = inner::<O, F>(frame, link, outer, config, header)?;
    let Some(flow) = S::flow(frame, offset, &inner) else {
        return match inner.transport {
            Transport::Fragment if S::IS_OWN => Ok(Fate::Fragment),
            // No packet comes here twice: whoever looks for what ICMP errors quote finds it or drops.
            Transport::Other if S::IS_OWN && inner.is_icmp() => Ok(Fate::Icmp),
            _ => Err(DropReason::MalformedEncap),
        };
    };
    let hash = flow_hash(&config.key, &flow.tuple());
    if !header.is_tagged(&config.key, hash)
        && let Some(fate) = K::tag(config, |key| header.is_tagged(key, flow_hash(key, &flow.tuple())))?
    {
        return Ok(fate);
    }
    F::service(maps, inner.destination, 0, 0).ok_or(DropReason::NotAVip)?;
    let chain = header.packed_chain();
    let was_away = config.flags & config::WAS_AWAY != 0;
    let step = if chain.is_alone() && !was_away && !maps.is_agent_silent() {
        alone(chain, config)?
    } else {
        let named = named(frame, offset, &inner, &flow, chain);
        let mut walk = Walk::go_on(&flow, chain, config.member).naming(named);
        if was_away && chain.is_alone() {
            maps.lead_on(&mut walk);
        }
        // The sign of life is looked for only there: that costs a fifth of what a member spends on a packet.
        select::to(maps, maps.hand_on(&walk, frame.walk(&walk)))?
    };
    match step {
        Step::Stay(counter) if counter.is_drop() => Ok(stay(counter)),
        Step::Stay(counter) => {
            carry_congestion::<F>(frame, outer.tos, inner.tos, offset)?;
            unwrap::<F>(frame, link, offset).ok_or(DropReason::MalformedEncap)?;
            Ok(stay(counter))
        }
        Step::Send(chain, to) => {
            let header = Header::packed(F::INNER, chain, config.cluster, &config.key, hash);
            let action = encap::send_on(frame, link, outer, config, to, header, hash)?;
            Ok(Fate::Done(Verdict::PassedOn.into(), action))
        }
    }
}

/// The member that a QUIC packet names. That it is one its first hop has found: no other packet of UDP walks from
/// the opener.
#[inline(always)]
fn named<F: Family>(
    frame: &impl Frame,
    offset: usize,
    inner: &Packet<F>,
    flow: &Flow<F>,
    chain: PackedChain,
) -> MemberId {
    if flow.ports.protocol != UDP || chain.unpacked().direction != Direction::FromOpener {
        return NO_MEMBER;
    }
    quic::of_flow(frame, offset, inner, flow)
}

/// Leaves of the frame the packet at `offset`, which came in one with this type of service.
#[inline(always)]
pub(crate) fn take_out<F: Family>(
    frame: &mut impl Frame,
    link: &Link,
    outer: u8,
    offset: usize,
) -> Result<(), DropReason> {
    let inner = F::tos(frame, offset).ok_or(DropReason::MalformedEncap)?;
    carry_congestion::<F>(frame, outer, inner, offset)?;
    unwrap::<F>(frame, link, offset).ok_or(DropReason::MalformedEncap)
}

/// The step in a row of one member: it must be this node.
#[inline(always)]
fn alone<'m>(chain: PackedChain, config: &Config) -> Result<Step<'m>, DropReason> {
    if config.member == NO_MEMBER || chain.member(0) != config.member {
        return Err(DropReason::NotMyHop);
    }
    Ok(Step::Stay(Verdict::DeliveredMember.into()))
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
    let addresses = Addresses::of(frame)?;
    if !frame.adjust_head((offset - link.len()) as i32) {
        return None;
    }
    link.write(frame, addresses, F::ETHERTYPE)
}
