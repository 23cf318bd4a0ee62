//! The life of a packet.

use lb_common::encap::{Chain, Header};
use lb_common::hash::{Ports, flow_hash};
use lb_common::map::{Config, config, service};
use lb_common::verdict::{DropReason, Verdict};

use crate::frame::{Action, Frame, Maps};
use crate::ip::{Family, Packet, Transport, V4, V6};
use crate::link::{IPV4, IPV6, Link};
use crate::{decap, encap, probe, select};

/// What became of a packet, and what the driver does about it.
type Fate = (Verdict, Action);

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
    let (verdict, action) = fate.unwrap_or_else(|reason| (reason.into(), Action::Drop));
    maps.count(verdict);
    action
}

#[inline(always)]
fn packet<F: Family>(frame: &mut impl Frame, maps: &impl Maps, link: &Link) -> Result<Fate, DropReason> {
    let Some(packet) = F::parse(frame, link.len()) else { return Ok(pass(Verdict::Unparsed)) };
    match packet.transport {
        Transport::Flow(ports) => flow(frame, maps, link, &packet, ports),
        _ if !packet.is_for_vip(maps) => Ok(pass(Verdict::NotForVip)),
        Transport::Fragment => Err(DropReason::Fragment),
        Transport::Other => Ok(pass(Verdict::OtherProtocol)),
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
        decap::receive(frame, maps, link, packet, config)?;
        return Ok(pass(Verdict::DeliveredMember));
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
    let row = select::row(maps, table, hash)?;
    if row.opener() == config.member {
        return Ok(pass(Verdict::DeliveredFirstHop));
    }
    let to = select::opener(maps, row)?;
    let header = Header::new(F::INNER, Chain::to_opener(row), config.cluster, &config.key, hash);
    let action = encap::send(frame, link, packet, config, to, header, hash)?;
    Ok((Verdict::Sent, action))
}

#[inline(always)]
fn pass(verdict: Verdict) -> Fate {
    (verdict, Action::Pass)
}
