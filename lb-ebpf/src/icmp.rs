//! ICMP for VIPs: pings are answered here, and an error goes where the flow of the packet goes that it is about, by
//! the same row and walk, so that the kernel that has the flow gets to know.

use lb_common::map::service;
use lb_common::verdict::{DropReason, Verdict};

use crate::flow::{Quoted, Subject};
use crate::frame::{Action, Frame, Maps};
use crate::ip::{Family, Transport, V4, V6};
use crate::keys::{Both, Keys};
use crate::link::{IPV4, IPV6, Link};
use crate::process::{Fate, done, first_hop, lost, pass};
use crate::{decap, echo};

/// Decides about a frame with an ICMP message for a VIP, encapsulated or not, and counts the verdict.
#[inline(always)]
pub(crate) fn process(frame: &mut impl Frame, maps: &impl Maps) -> Action {
    let fate = match Link::parse(frame) {
        Some(link) if link.ethertype == IPV4 => packet::<V4>(frame, maps, &link),
        Some(link) if link.ethertype == IPV6 => packet::<V6>(frame, maps, &link),
        _ => Ok(pass(Verdict::Unparsed)),
    };
    match fate {
        Ok(Fate::Done(counter, action)) => done(maps, counter, action),
        // No error about an error (RFC 1122).
        Ok(Fate::TooBig(_)) => lost(maps, DropReason::TooBig),
        Ok(Fate::Expired) => lost(maps, DropReason::Expired),
        Ok(Fate::Icmp | Fate::Fragment | Fate::TwoKeys) => lost(maps, DropReason::MalformedEncap),
        Err(reason) => lost(maps, reason),
    }
}

#[inline(always)]
fn packet<F: Family>(frame: &mut impl Frame, maps: &impl Maps, link: &Link) -> Result<Fate, DropReason> {
    let Some(packet) = F::parse(frame, link.len()) else { return Ok(pass(Verdict::Unparsed)) };
    let Some(config) = maps.config() else { return Err(DropReason::NotConfigured) };
    if let Transport::Flow(_) = packet.transport {
        return decap::receive::<F, Quoted, Both>(frame, maps, link, &packet, config);
    }
    if let Some(action) = echo::answer(frame, link, &packet) {
        return Ok(Fate::Done(Verdict::Echoed.into(), action));
    }
    let Some(flow) = Quoted::flow(frame, link.len(), &packet) else {
        return Ok(pass(Verdict::OtherProtocol));
    };
    match F::service(maps, flow.vip, flow.ports.destination, flow.ports.protocol) {
        Some(found) if found.flags & service::LISTENER != 0 => {
            if let Some(fate) = Both::first_hop(config)? {
                return Ok(fate);
            }
            first_hop::<F, Both>(frame, maps, link, &packet, &flow, config, found)
        }
        _ => Ok(pass(Verdict::OtherProtocol)),
    }
}
