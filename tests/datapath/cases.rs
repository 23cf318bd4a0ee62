//! Packets that are neither encapsulated nor to be: what passes, what is dropped and why.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::verdict::{DropReason, Verdict};
use lb_tests::fixture::{self, CLIENT4, CLIENT6, Outer, THIS, VIP4, VIP6, address, port_owned_by};
use lb_tests::packet::{Ip, NODE_MAC, ROUTER_MAC, Transport, link};

use crate::check::Both;

const NODE4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 11));

fn tcp(client: IpAddr, to: IpAddr, port: u16) -> Ip {
    Ip::new(client, to, Transport::tcp(40_000, port, b"payload"))
}

#[test]
fn what_is_not_for_a_vip_passes_unchanged() {
    let mut both = Both::fixture(Outer::V4);
    for (name, frame) in [
        ("ssh to the node", tcp(CLIENT4, NODE4, 22).frame()),
        ("UDP to the node", Ip::new(CLIENT4, NODE4, Transport::udp(1, 53, b"")).frame()),
        ("IPv6 to the node", tcp(CLIENT6, address(Outer::V6, THIS), 22).frame()),
        ("ping to the node", Ip::new(CLIENT4, NODE4, Transport::other(1, &[8, 0, 0, 0])).frame()),
        ("a fragment for the node", tcp(CLIENT4, NODE4, 22).fragment(0x2000).frame()),
        ("ARP", link([0xff; 6], ROUTER_MAC, &[], 0x0806)),
        ("three VLAN tags", tcp(CLIENT4, VIP4, 80).tagged(&[(0x88a8, 1), (0x8100, 2), (0x8100, 3)])),
        ("a VLAN's ARP", link([0xff; 6], ROUTER_MAC, &[(0x8100, 5)], 0x0806)),
    ] {
        both.passes(name, &padded(frame), Verdict::NotForVip);
    }
}

#[test]
fn what_cannot_be_parsed_passes_with_a_counter() {
    let mut both = Both::fixture(Outer::V4);
    let good = tcp(CLIENT4, VIP4, 80).frame();
    let good6 = tcp(CLIENT6, VIP6, 80).frame();
    let with = |frame: &[u8], offset: usize, value: u8| {
        let mut frame = frame.to_vec();
        frame[offset] = value;
        frame
    };
    let many = (0..5).fold(tcp(CLIENT6, VIP6, 80), |ip, _| ip.extension(60)).frame();
    for (name, frame) in [
        ("IPv4 says version 6", with(&good, 14, 0x65)),
        ("IPv4 header of 16 bytes", with(&good, 14, 0x44)),
        ("IPv4 longer than the frame", with(&good, 16, 0x10)),
        ("IPv4 shorter than its header", with(&with(&good, 16, 0), 17, 19)),
        ("IPv4 ends before the ports", with(&with(&good, 16, 0), 17, 22)),
        ("IPv4 options beyond the end", with(&good, 14, 0x4f)),
        ("IPv6 says version 4", with(&good6, 14, 0x45)),
        ("IPv6 longer than the frame", with(&good6, 18, 0x10)),
        ("IPv6 longer than 16 bits", with(&with(&good6, 18, 0xff), 19, 0xff)),
        ("IPv6 ends before the ports", with(&with(&good6, 18, 0), 19, 2)),
        ("five extension headers", many),
        ("a VLAN tag and no more", padded_to(link(NODE_MAC, ROUTER_MAC, &[], 0x8100), 17)),
        ("IPv4 and no more", padded_to(link(NODE_MAC, ROUTER_MAC, &[], 0x0800), 20)),
    ] {
        both.passes(name, &frame, Verdict::Unparsed);
    }
}

#[test]
fn a_vips_other_packets_are_counted() {
    let mut both = Both::fixture(Outer::V4);
    let ping =
        |client, vip, protocol| Ip::new(client, vip, Transport::other(protocol, &[8, 0, 0, 0])).frame();
    both.passes("ping", &padded(ping(CLIENT4, VIP4, 1)), Verdict::OtherProtocol);
    both.passes("ping6", &ping(CLIENT6, VIP6, 58), Verdict::OtherProtocol);
    both.passes("a port without a Service", &tcp(CLIENT4, VIP4, 22).frame(), Verdict::NoService);
    both.passes("the same, IPv6", &tcp(CLIENT6, VIP6, 22).frame(), Verdict::NoService);
    let udp = |to| Ip::new(CLIENT4, VIP4, Transport::udp(40_000, to, b"q")).frame();
    both.passes("a UDP port without a Service", &padded(udp(80)), Verdict::NoService);
    both.drops("a Service without a listener", &padded(udp(53)), DropReason::NoLocalService);
}

#[test]
fn the_owner_takes_its_own_flows() {
    let mut both = Both::fixture(Outer::V4);
    let wanted = fixture::wanted(Outer::V4);
    for (client, vip) in [(CLIENT4, VIP4), (CLIENT6, VIP6)] {
        let port = port_owned_by(&wanted, THIS, client, vip, 6, 443);
        let ip = Ip::new(client, vip, Transport::tcp(port, 443, b""));
        for (name, frame) in [
            ("untagged", ip.frame()),
            ("802.1Q", ip.tagged(&[(0x8100, 5)])),
            ("QinQ", ip.tagged(&[(0x88a8, 5), (0x8100, 6)])),
            ("padded", padded(ip.frame())),
        ] {
            both.passes(&format!("{vip}, {name}"), &frame, Verdict::DeliveredFirstHop);
        }
    }
    let port = port_owned_by(&wanted, THIS, CLIENT4, VIP4, 6, 443);
    let options = Ip::new(CLIENT4, VIP4, Transport::tcp(port, 443, b"")).options(&[1; 40]).frame();
    both.passes("IPv4 options", &options, Verdict::DeliveredFirstHop);
    let port = port_owned_by(&wanted, THIS, CLIENT6, VIP6, 17, 443);
    let extended = Ip::new(CLIENT6, VIP6, Transport::udp(port, 443, b""));
    let extended = [0, 60, 43, 60].into_iter().fold(extended, Ip::extension).frame();
    both.passes("four extension headers", &extended, Verdict::DeliveredFirstHop);
}

/// Ethernet's shortest frame.
fn padded(frame: Vec<u8>) -> Vec<u8> {
    padded_to(frame, 60)
}

fn padded_to(mut frame: Vec<u8>, len: usize) -> Vec<u8> {
    frame.resize(frame.len().max(len), 0);
    frame
}
