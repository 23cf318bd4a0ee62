//! The life of a packet.

use lb_common::encap::Header;
use lb_common::hash::{Ports, flow_hash};
use lb_common::map::{Config, STAND_IN, config, service};
use lb_common::verdict::{Counter, DropReason, Verdict};

use crate::frame::{Action, Frame, Maps};
use crate::ip::{Family, Packet, Transport, V4, V6};
use crate::link::{IPV4, IPV6, Link};
use crate::select::{self, Step};
use crate::walk::Walk;
use crate::{decap, echo, encap, probe};

/// What became of a packet, and what the driver does about it.
pub(crate) type Fate = (Counter, Action);

/// Decides about one frame, changes it accordingly, and counts the verdict.
#[inline(always)]
pub fn process(frame: &mut impl Frame, maps: &impl Maps) -> Action {
    let fate = match Link::parse(frame) {
        None => Ok(pass(Verdict::Unparsed)),
        Some(link) => match link.ethertype {
            IPV4 => packet::<V4>(frame, maps, &link),
            IPV6 => packet::<V6>(frame, maps, &link),
            _ => Ok(pass(Verdict::NotForVip)),
        },
    };
    let (counter, action) = fate.unwrap_or_else(|reason| (Verdict::from(reason).into(), Action::Drop));
    maps.count(counter);
    action
}

#[inline(always)]
fn packet<F: Family>(frame: &mut impl Frame, maps: &impl Maps, link: &Link) -> Result<Fate, DropReason> {
    let Some(packet) = F::parse(frame, link.len()) else { return Ok(pass(Verdict::Unparsed)) };
    match packet.transport {
        Transport::Flow(ports) => flow(frame, maps, link, &packet, ports),
        _ if !packet.is_for_vip(maps) => Ok(pass(Verdict::NotForVip)),
        Transport::Fragment => Err(DropReason::Fragment),
        Transport::Other => Ok(match echo::answer(frame, link, &packet) {
            Some(action) => (Verdict::Echoed.into(), action),
            None => pass(Verdict::OtherProtocol),
        }),
    }
}

#[inline(always)]
fn flow<F: Family>(
    frame: &mut impl Frame,
    maps: &impl Maps,
    link: &Link,
    packet: &Packet<F>,
    ports: Ports,
) -> Result<Fate, DropReason> {
    let Some(config) = maps.config() else { return Err(DropReason::NotConfigured) };
    if let Some(found) = F::service(maps, packet.destination, ports.destination, ports.protocol) {
        if config.flags & config::READY == 0 {
            return Err(DropReason::NotConfigured);
        }
        maps.count_traffic(found.index, packet.len);
        if found.flags & service::LISTENER == 0 {
            return Err(DropReason::NoLocalService);
        }
        return first_hop(frame, maps, link, packet, ports, config, found.table);
    }
    if decap::is_encapsulated(config, packet, ports) {
        if probe::is_probe(frame, packet) {
            probe::receive(frame, maps, link, packet, config)?;
            return Ok(pass(Verdict::Probe));
        }
        return decap::receive(frame, maps, link, packet, config);
    }
    let is_for_vip = packet.is_for_vip(maps);
    Ok(pass(if is_for_vip { Verdict::NoService } else { Verdict::NotForVip }))
}

#[inline(always)]
fn first_hop<F: Family>(
    frame: &mut impl Frame,
    maps: &impl Maps,
    link: &Link,
    packet: &Packet<F>,
    ports: Ports,
    config: &Config,
    table: u32,
) -> Result<Fate, DropReason> {
    let hash = flow_hash(&config.key, &packet.tuple(ports));
    let row = match select::row(maps, table, hash)? {
        // Without its agent this node is still a first hop, for those that can serve.
        row if row.opener() == config.member && maps.is_agent_silent() => {
            select::row(maps, table + STAND_IN, hash).unwrap_or(row)
        }
        row => row,
    };
    let step = if row.is_alone() {
        select::alone(maps, config, row)?
    } else {
        select::among(frame, maps, &Walk::start(packet, ports, row, config.member))?
    };
    match step {
        Step::Stay(counter) => Ok(stay(counter)),
        Step::Send(chain, to) => {
            let header = Header::packed(F::INNER, chain, config.cluster, &config.key, hash);
            Ok((Verdict::Sent.into(), encap::send(frame, link, packet, config, to, header, hash)?))
        }
    }
}

/// Leaves the frame to the kernel.
#[inline(always)]
fn pass(verdict: Verdict) -> Fate {
    (verdict.into(), Action::Pass)
}

/// The fate of a packet that does not leave this node.
#[inline(always)]
pub(crate) fn stay(counter: Counter) -> Fate {
    (counter, if counter.is_drop() { Action::Drop } else { Action::Pass })
}
