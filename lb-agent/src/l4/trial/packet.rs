//! A client's packet, made up: what a router would hand to this node.

use std::net::{IpAddr, SocketAddr};

use lb_common::checksum::{finish, sum};
use lb_common::hash::{Ports, Tuple};

use super::super::wanted::words;
use crate::model::Protocol;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TTL: u8 = 64;
const DONT_FRAGMENT: u16 = 0x4000;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A packet of a client, with nothing in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// The client.
    pub from: SocketAddr,
    /// Where it sends to; of the same family.
    pub to: SocketAddr,
    /// Its protocol.
    pub protocol: Protocol,
    /// Whether a TCP segment is the first of its connection (SYN).
    pub opens: bool,
}

impl Packet {
    /// What its flow is told by.
    pub(super) fn tuple(&self) -> Option<Tuple> {
        let ports = Ports {
            source: self.from.port().to_be(),
            destination: self.to.port().to_be(),
            protocol: self.protocol.number(),
        };
        let v4 = |address: [u8; 4]| u32::from_ne_bytes(address);
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                Some(Tuple::V4 { source: v4(from.octets()), destination: v4(to.octets()), ports })
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                Some(Tuple::V6 { source: words(from.octets()), destination: words(to.octets()), ports })
            }
            _ => None,
        }
    }

    /// It as an Ethernet frame; `None` between two families.
    pub(super) fn frame(&self) -> Option<Vec<u8>> {
        let mut transport = self.transport();
        let (kind, header) = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                (IPV4, self.header_v4(from.octets(), to.octets(), transport.len()))
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                (IPV6, self.header_v6(from.octets(), to.octets(), transport.len()))
            }
            _ => return None,
        };
        self.set_checksum(&mut transport);
        let link = [&[0; 12][..], &kind.to_be_bytes()].concat();
        Some([link, header, transport].concat())
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = [self.from.port().to_be_bytes(), self.to.port().to_be_bytes()].concat();
        match self.protocol {
            Protocol::Tcp => {
                let flags = if self.opens { SYN } else { ACK };
                let acknowledged = u8::from(!self.opens);
                bytes.extend([0, 0, 0, 1, 0, 0, 0, acknowledged, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
            }
            Protocol::Udp => bytes.extend([0, 8, 0, 0]),
        }
        bytes
    }

    fn header_v4(&self, from: [u8; 4], to: [u8; 4], payload: usize) -> Vec<u8> {
        let length = (20 + payload) as u16;
        let mut header = vec![0x45, 0];
        for word in [length, 0, DONT_FRAGMENT, u16::from_be_bytes([TTL, self.protocol.number()]), 0] {
            header.extend(word.to_be_bytes());
        }
        header.extend(from);
        header.extend(to);
        let check = finish(sum(&header));
        header[10..12].copy_from_slice(&check.to_be_bytes());
        header
    }

    fn header_v6(&self, from: [u8; 16], to: [u8; 16], payload: usize) -> Vec<u8> {
        let [high, low] = (payload as u16).to_be_bytes();
        [&[0x60, 0, 0, 0, high, low, self.protocol.number(), TTL][..], &from, &to].concat()
    }

    /// Over the pseudo header, too; UDP says 0 as all ones.
    fn set_checksum(&self, transport: &mut [u8]) {
        let addresses = |address: IpAddr| match address {
            IpAddr::V4(address) => sum(&address.octets()),
            IpAddr::V6(address) => sum(&address.octets()),
        };
        let pseudo = addresses(self.from.ip())
            + addresses(self.to.ip())
            + u32::from(self.protocol.number())
            + transport.len() as u32;
        let check = finish(pseudo + sum(transport));
        let (at, check) = match self.protocol {
            Protocol::Tcp => (16, check),
            Protocol::Udp => (6, if check == 0 { !0 } else { check }),
        };
        transport[at..at + 2].copy_from_slice(&check.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(from: &str, to: &str, protocol: Protocol, opens: bool) -> Packet {
        let address = |text: &str| text.parse().expect("an address");
        Packet { from: address(from), to: address(to), protocol, opens }
    }

    #[test]
    fn golden_frames() {
        let syn = packet("192.0.2.1:4660", "203.0.113.10:80", Protocol::Tcp, true);
        let frame = syn.frame().expect("one family");
        assert_eq!(frame[12..14], [8, 0]);
        assert_eq!(
            frame[14..34],
            [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0x3c, 0xc4, 192, 0, 2, 1, 203, 0, 113, 10]
        );
        assert_eq!(frame[34..48], [0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, SYN]);
        let datagram = packet("[2001:db8::1]:4660", "[2001:db8:53::10]:443", Protocol::Udp, false);
        let frame = datagram.frame().expect("one family");
        assert_eq!(frame[12..22], [0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]);
        assert_eq!(frame.len(), 14 + 40 + 8);
    }

    #[test]
    fn checksums_are_right() {
        for (from, to) in [("192.0.2.1:1", "203.0.113.10:80"), ("[2001:db8::1]:1", "[2001:db8::2]:80")] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let packet = packet(from, to, protocol, false);
                let frame = packet.frame().expect("one family");
                let addresses = if packet.to.is_ipv4() { 26..34 } else { 22..54 };
                let transport = &frame[addresses.end..];
                let pseudo = u32::from(protocol.number()) + transport.len() as u32;
                assert_eq!(finish(pseudo + sum(&frame[addresses]) + sum(transport)), 0, "{packet:?}");
                if packet.to.is_ipv4() {
                    assert_eq!(finish(sum(&frame[14..34])), 0);
                }
            }
        }
    }

    #[test]
    fn families_do_not_mix() {
        let packet = packet("192.0.2.1:1", "[2001:db8::2]:80", Protocol::Tcp, false);
        assert!(packet.frame().is_none() && packet.tuple().is_none());
    }
}
