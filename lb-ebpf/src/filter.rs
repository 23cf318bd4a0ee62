//! Whether a packet is one that a capture asks for. Not part of the packet path: a program of its own asks it, while
//! somebody captures.

use lb_common::capture::{Filter, ICMP, family};
use lb_common::encap::{HEADER_LEN, Header, INNER_V4};
use lb_common::hash::{Ports, Tuple};

use crate::access::Window;
use crate::decap::{UDP_LEN, is_encapsulated};
use crate::frame::{Frame, Maps};
use crate::ip::{Family, Packet, Transport, V4, V6};
use crate::link::{IPV4, IPV6, Link};

/// Whether the frame or the packet that it carries encapsulated is one of `filter`.
#[inline(always)]
pub fn matches(filter: &Filter, frame: &impl Frame, maps: &impl Maps) -> bool {
    if filter.is_open() {
        return true;
    }
    let Some(link) = Link::parse(frame) else { return false };
    match link.ethertype {
        IPV4 => packet::<V4>(filter, frame, maps, link.len()),
        IPV6 => packet::<V6>(filter, frame, maps, link.len()),
        _ => false,
    }
}

#[inline(always)]
fn packet<F: Family>(filter: &Filter, frame: &impl Frame, maps: &impl Maps, offset: usize) -> bool {
    let Some(packet) = F::parse(frame, offset) else { return false };
    if is_one(filter, &packet) {
        return true;
    }
    let (Transport::Flow(ports), Some(config)) = (packet.transport, maps.config()) else { return false };
    if !is_encapsulated(config, &packet, ports) {
        return false;
    }
    let at = packet.payload + UDP_LEN;
    let Some(header) = Window::<HEADER_LEN>::new(frame, at) else { return false };
    match header.load::<Header, 0>().inner() {
        Ok(INNER_V4) => inner::<V4>(filter, frame, at + HEADER_LEN),
        Ok(_) => inner::<V6>(filter, frame, at + HEADER_LEN),
        Err(_) => false,
    }
}

#[inline(always)]
fn inner<F: Family>(filter: &Filter, frame: &impl Frame, offset: usize) -> bool {
    F::parse(frame, offset).is_some_and(|packet| is_one(filter, &packet))
}

#[inline(always)]
fn is_one<F: Family>(filter: &Filter, packet: &Packet<F>) -> bool {
    let ports = match packet.transport {
        Transport::Flow(ports) => ports,
        Transport::Fragment | Transport::Other => {
            Ports { source: 0, destination: 0, protocol: packet.protocol }
        }
    };
    let protocol = if filter.protocol == ICMP { F::ICMP.into() } else { filter.protocol };
    let (is_family, source, destination) = match F::tuple(packet.source, packet.destination, ports) {
        Tuple::V4 { source, destination, .. } => {
            (filter.family != family::V6, [source.into(), 0], [destination.into(), 0])
        }
        Tuple::V6 { source, destination, .. } => (filter.family != family::V4, source, destination),
    };
    is_family
        && (protocol == 0 || protocol == packet.protocol.into())
        && (filter.source_port == 0 || filter.source_port == ports.source)
        && (filter.destination_port == 0 || filter.destination_port == ports.destination)
        && differs(filter.source, source, filter.source_mask) == 0
        && differs(filter.destination, destination, filter.destination_mask) == 0
}

/// The bits of the mask in which two addresses differ.
#[inline(always)]
fn differs(wanted: [u64; 2], found: [u64; 2], mask: [u64; 2]) -> u64 {
    (wanted[0] ^ found[0]) & mask[0] | (wanted[1] ^ found[1]) & mask[1]
}
