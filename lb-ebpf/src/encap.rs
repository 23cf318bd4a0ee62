//! Puts outer Ethernet, IP and UDP headers and ours in front of the client's packet (first hop), or in the place
//! of those that are there (member).

use lb_common::checksum;
use lb_common::encap::{HEADER_LEN, Header, OVERHEAD_V4, OVERHEAD_V6, source_port};
use lb_common::map::{Config, Member, member};
use lb_common::verdict::DropReason;

use crate::access::Window;
use crate::frame::{Action, Frame};
use crate::ip::{Family, Packet, TTL, UDP, sum};
use crate::link::{Addresses, IPV4, IPV6, Link};

const V4_LEN: usize = 20;
const V6_LEN: usize = 40;
const UDP_LEN: usize = 8;
/// Don't fragment: the member's decapsulation sees whole packets only.
const DONT_FRAGMENT: u16 = 0x4000;

/// What the outer headers are made of.
struct Outer {
    /// Bytes behind the outer IP header.
    body: u16,
    tos: u8,
    /// Entropy: the flow hash.
    flow_hash: u64,
    header: Header,
}

/// Bytes of an IP packet that fit the way to `to` once encapsulated.
#[inline(always)]
pub(crate) fn room(to: &Member) -> u16 {
    let overhead = if to.flags & member::V6 != 0 { OVERHEAD_V6 } else { OVERHEAD_V4 };
    to.mtu.saturating_sub(overhead as u16)
}

/// Sends `packet`, for which there is room, to `to` with `header` in front. The outer header takes DSCP and ECN over (RFC 6040,
/// normal mode), and its source port carries the flow's entropy.
#[inline(always)]
pub(crate) fn send<F: Family>(
    frame: &mut impl Frame,
    link: &Link,
    packet: &Packet<F>,
    config: &Config,
    to: &Member,
    header: Header,
    flow_hash: u64,
) -> Result<Action, DropReason> {
    let is_v6 = to.flags & member::V6 != 0;
    let overhead = if is_v6 { OVERHEAD_V6 } else { OVERHEAD_V4 };
    if !frame.adjust_head(-(overhead as i32)) {
        return Err(DropReason::NoHeadroom);
    }
    let body = packet.len + (UDP_LEN + HEADER_LEN) as u16;
    let outer = Outer { body, tos: packet.tos, flow_hash, header };
    write(frame, link, config, to, &outer).ok_or(DropReason::NoHeadroom)?;
    Ok(leave(frame, to))
}

/// Sends the encapsulated packet `packet` on to `to`, with `header` in the place of its own. DSCP and ECN stay:
/// congestion met on the way here is told at the end of the way.
#[inline(always)]
pub(crate) fn send_on<F: Family>(
    frame: &mut impl Frame,
    link: &Link,
    packet: &Packet<F>,
    config: &Config,
    to: &Member,
    header: Header,
    flow_hash: u64,
) -> Result<Action, DropReason> {
    let is_v6 = to.flags & member::V6 != 0;
    if is_v6 != (F::ETHERTYPE == IPV6) {
        return Err(DropReason::NoNextHop);
    }
    if packet.len > to.mtu {
        return Err(DropReason::TooBig);
    }
    let ip_len = packet.payload - link.len();
    let expected = if is_v6 { V6_LEN } else { V4_LEN };
    if ip_len != expected {
        return Err(DropReason::MalformedEncap);
    }
    let outer = Outer { body: packet.len - expected as u16, tos: packet.tos, flow_hash, header };
    write(frame, link, config, to, &outer).ok_or(DropReason::MalformedEncap)?;
    Ok(leave(frame, to))
}

/// Out of the interface towards `to`.
#[inline(always)]
fn leave(frame: &impl Frame, to: &Member) -> Action {
    if to.ifindex == frame.interface() { Action::Transmit } else { Action::Redirect(to.ifindex) }
}

/// Writes the outer headers, of the family by which `to` is reached.
#[inline(always)]
fn write(frame: &mut impl Frame, link: &Link, config: &Config, to: &Member, outer: &Outer) -> Option<()> {
    if to.flags & member::V6 != 0 {
        write_v6(frame, link, config, to, outer)
    } else {
        write_v4(frame, link, config, to, outer)
    }
}

#[inline(always)]
fn write_v4(frame: &mut impl Frame, link: &Link, config: &Config, to: &Member, outer: &Outer) -> Option<()> {
    link.write(frame, Addresses::to(to), IPV4)?;
    let window = Window::<OVERHEAD_V4>::new(frame, link.len())?;
    let first = 0x4500 | u32::from(outer.tos);
    let len = u32::from(outer.body) + V4_LEN as u32;
    let fragment = u32::from(DONT_FRAGMENT);
    let protocol = u32::from(TTL) << 8 | u32::from(UDP);
    let destination = to.address[0] as u32;
    let addresses = sum(config.local_v4) + sum(destination);
    let check = checksum::finish(first + len + fragment + protocol + addresses);
    window.store::<u32, 0>((first << 16 | len).to_be());
    window.store::<u32, 4>(fragment.to_be());
    window.store::<u32, 8>((protocol << 16 | u32::from(check)).to_be());
    window.store::<u32, 12>(config.local_v4);
    window.store::<u32, 16>(destination);
    window.store::<u64, 20>(udp(config, outer));
    window.store::<Header, 28>(outer.header);
    Some(())
}

#[inline(always)]
fn write_v6(frame: &mut impl Frame, link: &Link, config: &Config, to: &Member, outer: &Outer) -> Option<()> {
    link.write(frame, Addresses::to(to), IPV6)?;
    let window = Window::<OVERHEAD_V6>::new(frame, link.len())?;
    // The flow label (RFC 6437): the same entropy as in the source port, for routers that hash only this.
    let label = outer.flow_hash as u32 & 0xf_ffff;
    window.store::<u32, 0>((6 << 28 | u32::from(outer.tos) << 20 | label).to_be());
    window.store::<u32, 4>((u32::from(outer.body) << 16 | u32::from(UDP) << 8 | u32::from(TTL)).to_be());
    window.store::<u64, 8>(config.local_v6[0]);
    window.store::<u64, 16>(config.local_v6[1]);
    window.store::<u64, 24>(to.address[0]);
    window.store::<u64, 32>(to.address[1]);
    window.store::<u64, 40>(udp(config, outer));
    window.store::<Header, 48>(outer.header);
    Some(())
}

/// The UDP header. Its checksum is zero: optional in IPv4 (RFC 768), and allowed for tunnels over IPv6 whose
/// payload has checks of its own (RFC 6935, RFC 6936): the tag covers the inner addresses and ports, the
/// inner checksum the rest.
#[inline(always)]
fn udp(config: &Config, outer: &Outer) -> u64 {
    u64::from(source_port(outer.flow_hash).to_be())
        | u64::from(config.port) << 16
        | u64::from(outer.body.to_be()) << 32
}
