//! Builds packets byte by byte, right by default and wrong on request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use lb_common::checksum;

/// MAC addresses of the fixture's node and of its router.
pub const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The router's.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// A transport header with its payload.
#[derive(Clone, Debug)]
pub struct Transport {
    protocol: u8,
    bytes: Vec<u8>,
}

impl Transport {
    /// A TCP segment of an open connection.
    #[must_use]
    pub fn tcp(source: u16, destination: u16, payload: &[u8]) -> Self {
        const ACK: u8 = 0x10;
        let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 5 << 4, ACK, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(payload);
        Self { protocol: 6, bytes }
    }

    /// A TCP segment without data or a checksum.
    #[must_use]
    pub fn segment(source: u16, destination: u16, segment: Segment) -> Self {
        let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        bytes.extend(segment.sequence.to_be_bytes());
        bytes.extend(segment.acknowledged.to_be_bytes());
        bytes.extend([5 << 4, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
        Self { protocol: 6, bytes }
    }

    /// With this behind it.
    #[must_use]
    pub fn with(mut self, payload: &[u8]) -> Self {
        self.bytes.extend(payload);
        self
    }

    /// A UDP datagram without a checksum.
    #[must_use]
    pub fn udp(source: u16, destination: u16, payload: &[u8]) -> Self {
        let len = (payload.len() + 8) as u16;
        let mut bytes = [source, destination, len, 0].map(u16::to_be_bytes).concat();
        bytes.extend(payload);
        Self { protocol: 17, bytes }
    }

    /// Any protocol.
    #[must_use]
    pub fn other(protocol: u8, bytes: &[u8]) -> Self {
        Self { protocol, bytes: bytes.to_vec() }
    }
}

/// What tells a TCP segment from others of its flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// `flags::*` bits.
    pub flags: u8,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledged: u32,
}

/// Bits of a TCP header's 14th byte.
pub mod flags {
    /// No more data comes.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Refuses a segment.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number means something.
    pub const ACK: u8 = 0x10;
}

/// An IP packet.
#[derive(Clone, Debug)]
pub struct Ip {
    source: IpAddr,
    destination: IpAddr,
    tos: u8,
    ttl: u8,
    /// IPv4 options, or IPv6 extension headers as (protocol number, bytes without the first).
    options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    id: u16,
    fragment: u16,
    transport: Transport,
}

impl Ip {
    /// A packet between two addresses of one family.
    #[must_use]
    pub fn new(source: IpAddr, destination: IpAddr, transport: Transport) -> Self {
        Self {
            source,
            destination,
            tos: 0,
            ttl: 64,
            options: vec![],
            extensions: vec![],
            id: 0,
            fragment: 0,
            transport,
        }
    }

    /// With DSCP and ECN bits.
    #[must_use]
    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    /// With another TTL or hop limit than 64.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// A hop further on.
    #[must_use]
    pub fn forwarded(&self) -> Self {
        Self { ttl: self.ttl - 1, ..self.clone() }
    }

    /// With another destination.
    #[must_use]
    pub fn to(mut self, destination: IpAddr) -> Self {
        self.destination = destination;
        self
    }

    /// Who it is from.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.source
    }

    /// With IPv4 options: a multiple of 4 bytes, 40 at most.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        assert!(options.len().is_multiple_of(4) && options.len() <= 40);
        self.options = options.to_vec();
        self
    }

    /// With an IPv6 extension header of 8 bytes in front of what is there.
    #[must_use]
    pub fn extension(mut self, protocol: u8) -> Self {
        self.extensions.insert(0, (protocol, vec![0; 7]));
        self
    }

    /// With an IPv4 identification.
    #[must_use]
    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// With the IPv4 flags and fragment offset field.
    #[must_use]
    pub fn fragment(mut self, field: u16) -> Self {
        self.fragment = field;
        self
    }

    /// Its fragments: each has `len` bytes of what is behind the IP header, the last one the rest.
    #[must_use]
    pub fn parts(&self, id: u32, len: usize) -> Vec<Self> {
        let whole = &self.transport.bytes;
        let starts = (0..whole.len()).step_by(len);
        starts.map(|start| self.part(id, start..whole.len().min(start + len))).collect()
    }

    /// The fragment with these bytes of what is behind the IP header.
    #[must_use]
    pub fn part(&self, id: u32, bytes: Range<usize>) -> Self {
        const FRAGMENT: u8 = 44;
        const MORE: u16 = 0x2000;
        let mut part = self.clone();
        let is_last = bytes.end == part.transport.bytes.len();
        let before = bytes.start as u16;
        part.transport.bytes = part.transport.bytes[bytes].to_vec();
        if self.source.is_ipv4() {
            part.id = id as u16;
            part.fragment = (before / 8) | if is_last { 0 } else { MORE };
        } else {
            let [high, low] = (before | u16::from(!is_last)).to_be_bytes();
            part.extensions.push((FRAGMENT, [&[0, high, low], &id.to_be_bytes()[..]].concat()));
        }
        part
    }

    /// With the right checksum of a TCP segment.
    #[must_use]
    pub fn summed(mut self) -> Self {
        const CHECKSUM: Range<usize> = 16..18;
        self.transport.bytes[CHECKSUM].fill(0);
        let addresses = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => [source.octets(), destination.octets()].concat(),
            (IpAddr::V6(source), IpAddr::V6(destination)) => [source.octets(), destination.octets()].concat(),
            _ => panic!("addresses of two families"),
        };
        let pseudo = [self.transport.protocol.into(), self.transport.bytes.len() as u32];
        let sum = checksum::sum(&addresses) + pseudo[0] + pseudo[1] + checksum::sum(&self.transport.bytes);
        self.transport.bytes[CHECKSUM].copy_from_slice(&checksum::finish(sum).to_be_bytes());
        self
    }

    /// The packet.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.v4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.v6(source, destination),
            _ => panic!("addresses of two families"),
        }
    }

    fn v4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let header = 20 + self.options.len();
        let len = (header + self.transport.bytes.len()) as u16;
        let mut bytes = vec![0x40 | (header / 4) as u8, self.tos];
        bytes.extend(len.to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.ttl, self.transport.protocol, 0, 0]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(&self.options);
        let check = checksum::finish(checksum::sum(&bytes));
        bytes[10..12].copy_from_slice(&check.to_be_bytes());
        bytes.extend(&self.transport.bytes);
        bytes
    }

    fn v6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let protocols: Vec<u8> =
            self.extensions.iter().map(|extension| extension.0).chain([self.transport.protocol]).collect();
        let extensions: usize = self.extensions.iter().map(|extension| extension.1.len() + 1).sum();
        let body = (extensions + self.transport.bytes.len()) as u16;
        let mut bytes = (6_u32 << 28 | u32::from(self.tos) << 20).to_be_bytes().to_vec();
        bytes.extend(body.to_be_bytes());
        bytes.extend([protocols[0], self.ttl]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        for ((_, rest), next) in self.extensions.iter().zip(&protocols[1..]) {
            bytes.push(*next);
            bytes.extend(rest);
        }
        bytes.extend(&self.transport.bytes);
        bytes
    }

    /// In an Ethernet frame from the router to the node.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        self.tagged(&[])
    }

    /// In a frame with VLAN tags, each an ethertype and a tag.
    #[must_use]
    pub fn tagged(&self, tags: &[(u16, u16)]) -> Vec<u8> {
        let ethertype = if self.source.is_ipv4() { IPV4 } else { IPV6 };
        let mut frame = link(NODE_MAC, ROUTER_MAC, tags, ethertype);
        frame.extend(self.bytes());
        frame
    }
}

/// A link header.
#[must_use]
pub fn link(destination: [u8; 6], source: [u8; 6], tags: &[(u16, u16)], ethertype: u16) -> Vec<u8> {
    let mut frame = [destination, source].concat();
    for (protocol, tag) in tags {
        frame.extend(protocol.to_be_bytes());
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame
}
