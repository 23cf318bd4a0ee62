//! Fragments for VIPs. The router may send the parts of a datagram to several first hops, and only the first part has
//! ports: all go to one member, the collector, which remembers what the first one said, and sends each on where the
//! datagram's flow goes (`follow`). Parts that come before the first one are the agent's to hold, for XDP cannot wait.

use lb_common::encap::{Header, INNER_V4, PackedChain};
use lb_common::fragment::{DatagramKey, Head, MAX_FRAME};
use lb_common::limit::Limit;
use lb_common::map::{Config, config};
use lb_common::verdict::{Counter, DropReason, Verdict};

use crate::access::opaque;
use crate::follow::{Fragment, follow};
use crate::frame::{Action, Frame, Maps};
use crate::ip::{Family, Packet, Transport, UDP, V4, V6, ports};
use crate::keys::{Both, Keys};
use crate::link::{IPV4, IPV6, Link};
use crate::process::{Fate, Rest, done, lost, stay};
use crate::walk::Next;
use crate::{decap, encap};

/// Decides about a frame with a fragment for a VIP, encapsulated or not, and counts the verdict. One that the agent
/// gives back (`is_given`) is not handed to it again. In the kernel, each of its three steps is a function of its own.
///
/// # Errors
/// What else is to be done with it.
#[inline(always)]
pub fn collect(frame: &mut impl Frame, maps: &impl Maps, is_given: bool) -> Result<Action, Rest> {
    let mut fragment = Fragment::default();
    match look(frame, maps, &mut fragment) {
        Err(rest) if rest.is_fragment() => {}
        other => return other,
    }
    let next = follow(&fragment, frame, maps);
    carry_out(frame, maps, &fragment, next, is_given)
}

/// Whether the packet at `offset` is the first part of a datagram to the encapsulation's port of this node. Members send none
/// in parts; and the kernel would put it together where no tag was looked at, in front of the agent's probes.
#[inline(always)]
pub(crate) fn is_encapsulation_in_parts<F: Family>(
    frame: &impl Frame,
    offset: usize,
    packet: &Packet<F>,
    config: &Config,
) -> bool {
    if !packet.is_fragment() || packet.destination != F::local(config) {
        return false;
    }
    let Some(part) = F::part(frame, offset, packet) else { return false };
    let end = offset + usize::from(packet.len);
    part.before == 0
        && part.protocol == UDP
        && ports(frame, part.payload, end, UDP).is_some_and(|ports| ports.destination == config.port)
}

/// Looks at the fragment in a frame. Nothing of one that another member sent is believed before its tag is right.
///
/// # Errors
/// It is a fragment, and `follow` says where it goes.
#[inline(always)]
pub fn look(frame: &impl Frame, maps: &impl Maps, fragment: &mut Fragment) -> Result<Action, Rest> {
    let looked = match Link::parse(frame) {
        Some(link) if link.ethertype == IPV4 => packet::<V4>(frame, maps, &link, fragment),
        Some(link) if link.ethertype == IPV6 => packet::<V6>(frame, maps, &link, fragment),
        _ => Ok(false),
    };
    match looked {
        Ok(true) => Err(Rest::fragment()),
        Ok(false) => Ok(done(maps, Verdict::Unparsed.into(), Action::Pass)),
        Err(reason) => Ok(lost(maps, reason)),
    }
}

/// Does with a fragment what `follow` said, and counts the verdict.
///
/// # Errors
/// What else is to be done with it.
#[inline(always)]
pub fn carry_out(
    frame: &mut impl Frame,
    maps: &impl Maps,
    fragment: &Fragment,
    next: Next,
    is_given: bool,
) -> Result<Action, Rest> {
    let fate = match next.chain() {
        Err(counter) if counter == Verdict::Held.into() => {
            return Ok(hold(frame, maps, fragment.datagram, is_given));
        }
        Err(counter) => leave(frame, fragment, counter),
        Ok(chain) => send(frame, maps, fragment, chain),
    };
    match fate {
        Ok(Fate::Done(counter, action)) => Ok(done(maps, counter, action)),
        Ok(Fate::TooBig(room)) if !is_given => Err(Rest::too_big(room)),
        Ok(Fate::Expired) if fragment.is_first() => Err(Rest::expired()),
        // Nobody is told of a part without ports (RFC 1122).
        Ok(Fate::Expired) => Ok(lost(maps, DropReason::Expired)),
        Ok(_) => Ok(lost(maps, DropReason::TooBig)),
        Err(reason) => Ok(lost(maps, reason)),
    }
}

/// Hands a part that came too early to the agent.
#[inline(always)]
fn hold(frame: &impl Frame, maps: &impl Maps, datagram: DatagramKey, is_given: bool) -> Action {
    if is_given {
        return lost(maps, DropReason::Fragment);
    }
    if opaque(frame.end() - frame.start()) > MAX_FRAME {
        return lost(maps, DropReason::LongFragment);
    }
    let head = Head { datagram, interface: frame.interface(), ..Head::default() };
    if maps.allows(Limit::Hold) && frame.hand_over(head) {
        done(maps, Verdict::Held.into(), Action::Drop)
    } else {
        lost(maps, DropReason::FragmentUnheld)
    }
}

/// Whether the packet is a fragment, or has one in it.
#[inline(always)]
fn packet<O: Family>(
    frame: &impl Frame,
    maps: &impl Maps,
    link: &Link,
    fragment: &mut Fragment,
) -> Result<bool, DropReason> {
    let Some(outer) = O::parse(frame, link.len()) else { return Ok(false) };
    let Some(config) = maps.config().filter(|config| config.flags & config::READY != 0) else {
        return Err(DropReason::NotConfigured);
    };
    match outer.transport {
        Transport::Flow(_) => {
            let header = decap::header(frame, &outer)?.load::<Header, 0>();
            match header.inner() {
                Ok(INNER_V4) => take::<O, V4>(frame, maps, link, &outer, config, &header, fragment)?,
                Ok(_) => take::<O, V6>(frame, maps, link, &outer, config, &header, fragment)?,
                Err(error) => return Err(decap::refused(error)),
            }
        }
        Transport::Fragment => {
            *fragment = Fragment::of(frame, link.len(), &outer, config).ok_or(DropReason::Fragment)?;
        }
        Transport::Other => return Ok(false),
    }
    Ok(true)
}

/// Takes a look at a fragment that another member sent.
#[inline(always)]
fn take<O: Family, F: Family>(
    frame: &impl Frame,
    maps: &impl Maps,
    link: &Link,
    outer: &Packet<O>,
    config: &Config,
    header: &Header,
    fragment: &mut Fragment,
) -> Result<(), DropReason> {
    let (offset, inner) = decap::inner::<O, F>(frame, link, outer, config, header)?;
    if !inner.is_fragment() {
        return Err(DropReason::MalformedEncap);
    }
    *fragment = Fragment::of(frame, offset, &inner, config).ok_or(DropReason::MalformedEncap)?;
    if !header.is_tagged(&config.key, fragment.hash) {
        Both::tag(config, |key| header.is_tagged(key, fragment.datagram.hash(key)))?;
    }
    if !inner.is_for_vip(maps) {
        return Err(DropReason::NotAVip);
    }
    fragment.chain = header.packed_chain().0;
    Ok(())
}

/// Sends a fragment with a chain.
#[inline(always)]
fn send(
    frame: &mut impl Frame,
    maps: &impl Maps,
    fragment: &Fragment,
    chain: PackedChain,
) -> Result<Fate, DropReason> {
    match Link::parse(frame) {
        Some(link) if link.ethertype == IPV4 => send_by::<V4>(frame, maps, &link, fragment, chain),
        Some(link) => send_by::<V6>(frame, maps, &link, fragment, chain),
        None => Err(DropReason::MalformedEncap),
    }
}

/// Puts the headers in front of a client's packet, or in the place of those with which it came.
#[inline(always)]
fn send_by<O: Family>(
    frame: &mut impl Frame,
    maps: &impl Maps,
    link: &Link,
    fragment: &Fragment,
    chain: PackedChain,
) -> Result<Fate, DropReason> {
    let config = maps.config().ok_or(DropReason::NotConfigured)?;
    let outer = O::parse(frame, link.len()).ok_or(DropReason::MalformedEncap)?;
    // `follow` has just looked at it.
    let to = maps.member(chain.target()).ok_or(DropReason::UnknownMember)?;
    let hash = fragment.hash;
    let header = Header::packed(fragment.family(), chain, config.cluster, &config.key, hash);
    if fragment.has_come() {
        let action = encap::send_on(frame, link, &outer, config, to, header, hash)?;
        let verdict = if fragment.is_collected() { Verdict::PassedOn } else { Verdict::Sent };
        return Ok(Fate::Done(verdict.into(), action));
    }
    let room = encap::room(to);
    if outer.len > room {
        return Ok(Fate::TooBig(room));
    }
    if !O::spend_hop(frame, link.len()) {
        return Ok(Fate::Expired);
    }
    let action = encap::send(frame, link, &outer, config, to, header, hash)?;
    let verdict = if chain.is_collected() { Verdict::Sent } else { Verdict::ToCollector };
    Ok(Fate::Done(verdict.into(), action))
}

/// The fate of a fragment that does not leave this node, out of what it came in.
#[inline(always)]
fn leave(frame: &mut impl Frame, fragment: &Fragment, counter: Counter) -> Result<Fate, DropReason> {
    if fragment.has_come() && !counter.is_drop() {
        let link = Link::parse(frame).ok_or(DropReason::MalformedEncap)?;
        let outer =
            if link.ethertype == IPV4 { V4::tos(frame, link.len()) } else { V6::tos(frame, link.len()) };
        let (outer, offset) = (outer.ok_or(DropReason::MalformedEncap)?, fragment.offset());
        if fragment.family() == INNER_V4 {
            decap::take_out::<V4>(frame, &link, outer, offset)?;
        } else {
            decap::take_out::<V6>(frame, &link, outer, offset)?;
        }
    }
    Ok(stay(counter))
}
