//! The life of a packet.

use lb_common::encap::Header;
use lb_common::hash::flow_hash;
use lb_common::limit::Limit;
use lb_common::map::{Config, STAND_IN, Service, service};
use lb_common::row::Row;
use lb_common::verdict::{Counter, DropReason, Verdict};

use crate::flow::{Flow, Own};
use crate::fragment::{collect, is_encapsulation_in_parts};
use crate::frame::{Action, Frame, Maps};
use crate::ip::{Family, Packet, Transport, V4, V6};
use crate::keys::{Both, InForce, Keys};
use crate::link::{IPV4, IPV6, Link};
use crate::select::{self, Step};
use crate::walk::Walk;
use crate::{decap, encap, icmp, probe, quic, told};

/// What became of a packet, and what the driver does about it; or that another function sees to it.
pub(crate) enum Fate {
    /// All is done but counting.
    Done(Counter, Action),
    /// It is about ICMP: `icmp::process`.
    Icmp,
    /// It is a fragment: `fragment::collect`.
    Fragment,
    /// It is to be looked at by two flow keys: `go_on_by_two_keys`.
    TwoKeys,
    /// Its sender is to be told that the way takes IP packets of this many bytes: `told::too_big`.
    TooBig(u16),
    /// Its sender is to be told that it has no hop left: `told::expired`.
    Expired,
}

/// How a packet's life goes on after `begin`, as a number: in the kernel what comes then is a function of its own,
/// on a stack that the most frequent packets' function has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Rest(pub u32);

const ICMP: u32 = 1 << 16;
const TOO_BIG: u32 = 2 << 16;
const FRAGMENT: u32 = 3 << 16;
const TWO_KEYS: u32 = 4 << 16;
const EXPIRED: u32 = 5 << 16;

impl Rest {
    /// Of a packet that is too big for its way, which takes `room` bytes.
    #[inline(always)]
    pub(crate) fn too_big(room: u16) -> Self {
        Self(TOO_BIG | u32::from(room))
    }

    /// Of a packet that has no hop left.
    #[inline(always)]
    pub(crate) const fn expired() -> Self {
        Self(EXPIRED)
    }

    /// Of a fragment.
    #[inline(always)]
    pub(crate) const fn fragment() -> Self {
        Self(FRAGMENT)
    }

    /// Whether `go_on_by_two_keys` is what comes next.
    #[inline(always)]
    #[must_use]
    pub const fn is_by_two_keys(self) -> bool {
        self.0 == TWO_KEYS
    }

    /// Whether `collect` is what comes next.
    #[inline(always)]
    #[must_use]
    pub const fn is_fragment(self) -> bool {
        self.0 == FRAGMENT
    }
}

/// Decides about one frame, changes it accordingly, and counts the verdict.
#[inline(always)]
pub fn process(frame: &mut impl Frame, maps: &impl Maps) -> Action {
    let begun = match begin(frame, maps) {
        Err(rest) if rest.is_fragment() => collect(frame, maps, false),
        Err(rest) if rest.is_by_two_keys() => go_on_by_two_keys(frame, maps),
        begun => begun,
    };
    match begun {
        Ok(action) => action,
        Err(rest) => go_on(frame, maps, rest),
    }
}

/// The life of a flow's packet, which is nearly every one.
///
/// # Errors
/// What else is to be done with this one.
#[inline(always)]
pub fn begin(frame: &mut impl Frame, maps: &impl Maps) -> Result<Action, Rest> {
    live::<InForce>(frame, maps)
}

/// The same once more, by two flow keys, for a packet for which `begin` could do nothing by one.
///
/// # Errors
/// As of `begin`.
#[inline(always)]
pub fn go_on_by_two_keys(frame: &mut impl Frame, maps: &impl Maps) -> Result<Action, Rest> {
    live::<Both>(frame, maps)
}

#[inline(always)]
fn live<K: Keys>(frame: &mut impl Frame, maps: &impl Maps) -> Result<Action, Rest> {
    let fate = match Link::parse(frame) {
        None => Ok(pass(Verdict::Unparsed)),
        Some(link) => match link.ethertype {
            IPV4 => packet::<V4, K>(frame, maps, &link),
            IPV6 => packet::<V6, K>(frame, maps, &link),
            _ => Ok(pass(Verdict::NotForVip)),
        },
    };
    match fate {
        Ok(Fate::Done(counter, action)) => Ok(done(maps, counter, action)),
        Ok(Fate::Icmp) => Err(Rest(ICMP)),
        Ok(Fate::Fragment) => Err(Rest::fragment()),
        Ok(Fate::TwoKeys) => Err(Rest(TWO_KEYS)),
        Ok(Fate::TooBig(room)) => Err(Rest::too_big(room)),
        Ok(Fate::Expired) => Err(Rest::expired()),
        Err(reason) => Ok(lost(maps, reason)),
    }
}

/// The rest of a packet's life, unless it is a fragment or to be looked at by two flow keys.
#[inline(always)]
pub fn go_on(frame: &mut impl Frame, maps: &impl Maps, Rest(rest): Rest) -> Action {
    match rest {
        ICMP => icmp::process(frame, maps),
        EXPIRED => told::expired(frame, maps),
        too_big => told::too_big(frame, maps, too_big as u16),
    }
}

/// Counts what is done.
#[inline(always)]
pub(crate) fn done(maps: &impl Maps, counter: Counter, action: Action) -> Action {
    maps.count(counter);
    action
}

/// Counts what is lost.
#[inline(always)]
pub(crate) fn lost(maps: &impl Maps, reason: DropReason) -> Action {
    done(maps, Verdict::from(reason).into(), Action::Drop)
}

#[inline(always)]
fn packet<F: Family, K: Keys>(
    frame: &mut impl Frame,
    maps: &impl Maps,
    link: &Link,
) -> Result<Fate, DropReason> {
    let Some(packet) = F::parse(frame, link.len()) else { return Ok(pass(Verdict::Unparsed)) };
    match packet.transport {
        Transport::Flow(ports) => flow::<F, K>(frame, maps, link, &packet, &Flow::of(&packet, ports)),
        _ if !packet.is_for_vip(maps) => for_others(frame, maps, link, &packet),
        Transport::Fragment => Ok(Fate::Fragment),
        Transport::Other if packet.is_icmp() => Ok(Fate::Icmp),
        Transport::Other => Ok(pass(Verdict::OtherProtocol)),
    }
}

/// What is for no VIP is left to the kernel; but no part of what only looks as if a member had sent it.
#[inline(always)]
fn for_others<F: Family>(
    frame: &impl Frame,
    maps: &impl Maps,
    link: &Link,
    packet: &Packet<F>,
) -> Result<Fate, DropReason> {
    match maps.config() {
        Some(config) if is_encapsulation_in_parts(frame, link.len(), packet, config) => {
            Err(DropReason::MalformedEncap)
        }
        _ => Ok(pass(Verdict::NotForVip)),
    }
}

#[inline(always)]
fn flow<F: Family, K: Keys>(
    frame: &mut impl Frame,
    maps: &impl Maps,
    link: &Link,
    packet: &Packet<F>,
    flow: &Flow<F>,
) -> Result<Fate, DropReason> {
    let Some(config) = maps.config() else { return Err(DropReason::NotConfigured) };
    if let Some(found) = F::service(maps, flow.vip, flow.ports.destination, flow.ports.protocol) {
        if let Some(fate) = K::first_hop(config)? {
            return Ok(fate);
        }
        maps.count_traffic(found.index, packet.len);
        if found.flags & service::LISTENER == 0 {
            return Err(DropReason::NoLocalService);
        }
        return first_hop::<F, K>(frame, maps, link, packet, flow, config, found);
    }
    if decap::is_encapsulated(config, packet, flow.ports) {
        if probe::is_probe(frame, packet) {
            return probe::receive::<F, K>(frame, maps, link, packet, config);
        }
        return decap::receive::<F, Own, K>(frame, maps, link, packet, config);
    }
    if !packet.is_for_vip(maps) {
        return Ok(pass(Verdict::NotForVip));
    }
    if !maps.allows(Limit::Refusal) {
        return Err(DropReason::RefusalLimit);
    }
    Ok(pass(Verdict::NoService))
}

/// Sends `packet` to whom its flow may belong, or leaves it here.
#[inline(always)]
pub(crate) fn first_hop<F: Family, K: Keys>(
    frame: &mut impl Frame,
    maps: &impl Maps,
    link: &Link,
    packet: &Packet<F>,
    flow: &Flow<F>,
    config: &Config,
    to: &Service,
) -> Result<Fate, DropReason> {
    let hash = flow_hash(&config.key, &flow.tuple());
    let named = quic::of_service(frame, link.len(), packet, flow, to);
    let row = if select::is_known(maps, config, named) {
        Row::of(named)
    } else {
        K::row(maps, config, to.table, &flow.tuple(), hash)?
    };
    let step = if row.is_alone() {
        select::alone(maps, config, row)?
    } else {
        select::among(frame, maps, &Walk::start(flow, row, config.member).naming(named))?
    };
    match step {
        Step::Stay(counter) => Ok(stay(counter)),
        Step::Send(chain, to) => {
            let room = encap::room(to);
            if packet.len > room {
                return Ok(Fate::TooBig(room));
            }
            // Nothing further on counts hops: a chain is one way, whose end it names itself.
            if !F::spend_hop(frame, link.len()) {
                return Ok(Fate::Expired);
            }
            let header = Header::packed(F::INNER, chain, config.cluster, &config.key, hash);
            let action = encap::send(frame, link, packet, config, to, header, hash)?;
            Ok(Fate::Done(Verdict::Sent.into(), action))
        }
    }
}

/// The row of a flow by one key.
#[inline(always)]
pub(crate) fn row_in_force(
    maps: &impl Maps,
    config: &Config,
    table: u32,
    hash: u64,
) -> Result<Row, DropReason> {
    match select::row(maps, table, hash)? {
        // Without its agent this node is still a first hop, for those that can serve.
        row if row.opener() == config.member && maps.is_agent_silent() => {
            Ok(select::row(maps, table + STAND_IN, hash).unwrap_or(row))
        }
        row => Ok(row),
    }
}

/// Leaves the frame to the kernel.
#[inline(always)]
pub(crate) fn pass(verdict: Verdict) -> Fate {
    Fate::Done(verdict.into(), Action::Pass)
}

/// The fate of a packet that does not leave this node.
#[inline(always)]
pub(crate) fn stay(counter: Counter) -> Fate {
    Fate::Done(counter, if counter.is_drop() { Action::Drop } else { Action::Pass })
}
