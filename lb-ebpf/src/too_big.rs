//! Tells a client that its packet does not fit the way to its member: ICMP "fragmentation needed", ICMPv6 "packet too
//! big". An IPv4 packet without DF is the agent's to cut: XDP makes no two frames of one, and a fragment outside
//! would not reach the member's decapsulation. What the agent does not take gets the same answer.

use lb_common::checksum;
use lb_common::fragment::Head;
use lb_common::limit::Limit;
use lb_common::verdict::{DropReason, Verdict};

use crate::access::Window;
use crate::frame::{Action, Frame, Maps};
use crate::ip::{Family, V4, V6};
use crate::link::{Addresses, IPV4, IPV6, Link};
use crate::process::{done, lost};

/// Bytes that the message quotes of the packet: with the headers in front, no more than any link takes (576 bytes,
/// RFC 1812). Whatever is too big for a way is longer.
const QUOTE: usize = 512;

/// Of the message, in front of the quote.
pub(crate) const ICMP_LEN: usize = 8;

/// Sends the frame's packet back as the message that its way takes IP packets of `mtu` bytes, and counts the verdict.
#[inline(always)]
pub(crate) fn tell(frame: &mut impl Frame, maps: &impl Maps, mtu: u16) -> Action {
    if cut(frame, maps, mtu) {
        return done(maps, Verdict::Cut.into(), Action::Drop);
    }
    if !maps.allows(Limit::TooBig) {
        return lost(maps, DropReason::TooBig);
    }
    let told = match Link::parse(frame) {
        Some(link) if link.ethertype == IPV4 => answer::<V4>(frame, &link, mtu),
        Some(link) if link.ethertype == IPV6 => answer::<V6>(frame, &link, mtu),
        _ => None,
    };
    match told {
        Some(()) => done(maps, Verdict::ToldTooBig.into(), Action::Transmit),
        None => lost(maps, DropReason::TooBig),
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

#[inline(always)]
fn answer<F: Family>(frame: &mut impl Frame, link: &Link, mtu: u16) -> Option<()> {
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
    let pseudo = F::write(frame, link.len(), vip, client, len)?;
    let [kind, code] = F::TOO_BIG;
    let first = u16::from_le_bytes([kind, code]);
    let check =
        checksum::finish(u32::from(checksum::fold(sum)) + pseudo + u32::from(first) + u32::from(mtu.to_be()));
    let icmp = Window::<ICMP_LEN>::new(frame, link.len() + F::LEN)?;
    icmp.store::<u16, 0>(first);
    icmp.store::<u16, 2>(check);
    icmp.store::<u16, 4>(0);
    icmp.store::<u16, 6>(mtu.to_be());
    Some(())
}
