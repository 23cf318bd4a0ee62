//! Tells a client by ICMP why its packet went no further: it does not fit the way to its member ("fragmentation needed",
//! "packet too big"), or it had no hop left to go there ("time exceeded"). An IPv4 packet without DF is the agent's to cut:
//! XDP makes no two frames of one, and a fragment outside would not reach the member's decapsulation. What the agent does not
//! take gets the same answer.

use lb_common::checksum;
use lb_common::fragment::Head;
use lb_common::limit::Limit;
use lb_common::map::Config;
use lb_common::verdict::{DropReason, Verdict};

use crate::access::Window;
use crate::frame::{Action, Frame, Maps};
use crate::ip::{Family, V4, V6};
use crate::link::{Addresses, IPV4, IPV6, Link};
use crate::process::{done, lost};

/// Bytes that are quoted of a packet that is too big: with the headers in front, no more than any link takes (576 bytes,
/// RFC 1812). Whatever is too big for a way is longer.
const LONG_QUOTE: usize = 512;

/// Bytes that are quoted of a packet with no hop left, which may be as short as any with ports: the header and the ports,
/// and with IPv4 options in between not even these (they are on their way, but nobody can tell more).
const SHORT_QUOTE_V4: usize = 20 + 8;
const SHORT_QUOTE_V6: usize = 40 + 8;

/// Of the message, in front of the quote.
pub(crate) const ICMP_LEN: usize = 8;

/// What a message says: its type and code, and its last two bytes.
#[derive(Clone, Copy)]
struct Message([u8; 2], u16);

/// Sends the frame's packet back as the message that its way takes IP packets of `mtu` bytes, and counts the verdict.
#[inline(always)]
pub(crate) fn too_big(frame: &mut impl Frame, maps: &impl Maps, mtu: u16) -> Action {
    if cut(frame, maps, mtu) {
        return done(maps, Verdict::Cut.into(), Action::Drop);
    }
    if !maps.allows(Limit::TooBig) {
        return lost(maps, DropReason::TooBig);
    }
    let told = match Link::parse(frame) {
        Some(link) if link.ethertype == IPV4 => {
            answer::<V4, LONG_QUOTE>(frame, &link, None, Message(V4::TOO_BIG, mtu))
        }
        Some(link) if link.ethertype == IPV6 => {
            answer::<V6, LONG_QUOTE>(frame, &link, None, Message(V6::TOO_BIG, mtu))
        }
        _ => None,
    };
    end(maps, told, Verdict::ToldTooBig, DropReason::TooBig)
}

/// Sends the frame's packet back as the message that it had no hop left, and counts the verdict. It comes from this node,
/// as a router's does, if the node has an address of the packet's family: a trace shows which node a flow's first hop is.
#[inline(always)]
pub(crate) fn expired(frame: &mut impl Frame, maps: &impl Maps) -> Action {
    if !maps.allows(Limit::Expired) {
        return lost(maps, DropReason::Expired);
    }
    let told = match (Link::parse(frame), maps.config()) {
        (Some(link), Some(config)) if link.ethertype == IPV4 => {
            answer::<V4, SHORT_QUOTE_V4>(frame, &link, own::<V4>(config), Message(V4::EXPIRED, 0))
        }
        (Some(link), Some(config)) if link.ethertype == IPV6 => {
            answer::<V6, SHORT_QUOTE_V6>(frame, &link, own::<V6>(config), Message(V6::EXPIRED, 0))
        }
        _ => None,
    };
    end(maps, told, Verdict::ToldExpired, DropReason::Expired)
}

/// This node's address of a family, if it has one.
#[inline(always)]
fn own<F: Family>(config: &Config) -> Option<F::Address> {
    Some(F::local(config)).filter(|own| F::is_host(*own))
}

/// The end of a packet of which its sender was told, or could not be.
#[inline(always)]
fn end(maps: &impl Maps, told: Option<()>, verdict: Verdict, reason: DropReason) -> Action {
    match told {
        Some(()) => done(maps, verdict.into(), Action::Transmit),
        None => lost(maps, reason),
    }
}

/// Whether the agent cuts the frame's packet into such as fit.
#[inline(always)]
fn cut(frame: &impl Frame, maps: &impl Maps, mtu: u16) -> bool {
    let Some(link) = Link::parse(frame) else { return false };
    link.ethertype == IPV4
        && V4::may_be_cut(frame, link.len())
        && maps.allows(Limit::Cut)
        && frame.hand_over(Head {
            interface: frame.interface(),
            room: mtu,
            start: link.len() as u16,
            ..Head::default()
        })
}

/// From `own`, else from the VIP.
#[inline(always)]
fn answer<F: Family, const QUOTE: usize>(
    frame: &mut impl Frame,
    link: &Link,
    own: Option<F::Address>,
    Message([kind, code], last): Message,
) -> Option<()> {
    let (client, vip) = F::addresses(frame, link.len())?;
    let back = Addresses::of(frame)?.turned()?;
    if !F::is_host(client) {
        return None;
    }
    let sum = Window::<QUOTE>::new(frame, link.len())?.sum();
    if !frame.truncate(link.len() + QUOTE) || !frame.adjust_head(-((F::LEN + ICMP_LEN) as i32)) {
        return None;
    }
    link.write(frame, back, F::ETHERTYPE)?;
    let len = (ICMP_LEN + QUOTE) as u16;
    let pseudo = F::write(frame, link.len(), own.unwrap_or(vip), client, len)?;
    let first = u16::from_le_bytes([kind, code]);
    let words = u32::from(first) + u32::from(last.to_be());
    let check = checksum::finish(u32::from(checksum::fold(sum)) + pseudo + words);
    let icmp = Window::<ICMP_LEN>::new(frame, link.len() + F::LEN)?;
    icmp.store::<u16, 0>(first);
    icmp.store::<u16, 2>(check);
    icmp.store::<u16, 4>(0);
    icmp.store::<u16, 6>(last.to_be());
    Some(())
}
