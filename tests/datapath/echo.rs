//! Ping of a VIP: the reply goes out where the request came in, and is right to the bit.

use std::net::IpAddr;

use lb_common::checksum;
use lb_common::verdict::Verdict;
use lb_ebpf::Action;
use lb_tests::fixture::{self, CLIENT4, CLIENT6, Outer, VIP4, VIP6};
use lb_tests::host::Host;
use lb_tests::packet::{Ip, NODE_MAC, ROUTER_MAC, Transport, link};

use crate::check::Both;

/// The request and its reply: protocol and types.
const fn numbers(vip: IpAddr) -> (u8, u8, u8) {
    if vip.is_ipv4() { (1, 8, 0) } else { (58, 128, 129) }
}

/// An echo message with its right checksum.
fn echo(from: IpAddr, to: IpAddr, kind: u8, body: &[u8]) -> Ip {
    let (protocol, ..) = numbers(to);
    let mut bytes = [&[kind, 0, 0, 0], body].concat();
    let mut sum = checksum::sum(&bytes);
    if let (IpAddr::V6(from), IpAddr::V6(to)) = (from, to) {
        let addresses = [from.octets(), to.octets()].concat();
        sum += checksum::sum(&addresses) + bytes.len() as u32 + u32::from(protocol);
    }
    bytes[2..4].copy_from_slice(&checksum::finish(sum).to_be_bytes());
    Ip::new(from, to, Transport::other(protocol, &bytes))
}

/// The frame that answers, of a request with these tags.
fn reply(client: IpAddr, vip: IpAddr, body: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let ethertype = if vip.is_ipv4() { 0x0800 } else { 0x86dd };
    let (.., kind) = numbers(vip);
    [link(ROUTER_MAC, NODE_MAC, tags, ethertype), echo(vip, client, kind, body).bytes()].concat()
}

const FAMILIES: [(IpAddr, IpAddr); 2] = [(CLIENT4, VIP4), (CLIENT6, VIP6)];

#[test]
fn a_vip_answers_ping() {
    let mut both = Both::fixture(Outer::V4);
    for (client, vip) in FAMILIES {
        let (_, request, _) = numbers(vip);
        for body in [&[0, 1, 0, 2][..], &[0, 0, 0, 0], &[0, 0, 0, 0, 7], &[9; 1000]] {
            for tags in [&[][..], &[(0x8100, 5)], &[(0x88a8, 5), (0x8100, 6)]] {
                let name = format!("{vip}, {} bytes, {} tags", body.len(), tags.len());
                let answer = both.run(&name, &echo(client, vip, request, body).tagged(tags));
                assert_eq!(
                    (answer.verdicts[0], answer.action),
                    (Verdict::Echoed, Action::Transmit),
                    "{name}"
                );
                assert_eq!(answer.frame, reply(client, vip, body, tags), "{name}");
            }
        }
    }
}

#[test]
fn a_reply_begins_its_own_way() {
    let mut both = Both::fixture(Outer::V4);
    for (client, vip) in FAMILIES {
        let (_, request, _) = numbers(vip);
        let mut frame = echo(client, vip, request, &[1; 4]).frame();
        frame[if vip.is_ipv4() { 22 } else { 21 }] = 3;
        if vip.is_ipv4() {
            frame[24..26].fill(0);
            let check = checksum::finish(checksum::sum(&frame[14..34]));
            frame[24..26].copy_from_slice(&check.to_be_bytes());
        }
        assert_eq!(both.run("few hops left", &frame).frame, reply(client, vip, &[1; 4], &[]), "{vip}");
    }
}

#[test]
fn every_checksum_is_right() {
    // The host is quick enough for all of them, and is the same code.
    let host = Host::with(&fixture::wanted(Outer::V4));
    for (client, vip) in FAMILIES {
        let (_, request, _) = numbers(vip);
        for word in 0..=u16::MAX {
            let body = [&word.to_be_bytes()[..], &[0, 0]].concat();
            let answer = host.run(&echo(client, vip, request, &body).frame());
            assert_eq!(answer.frame, reply(client, vip, &body, &[]), "{vip}: {word:#x}");
        }
    }
}

#[test]
fn what_is_no_ping_is_left_to_the_kernel() {
    let mut both = Both::fixture(Outer::V4);
    let group4: IpAddr = [224, 0, 0, 1].into();
    let group6: IpAddr = [0xff02, 0, 0, 0, 0, 0, 0, 1].into();
    for (client, vip, group) in [(CLIENT4, VIP4, group4), (CLIENT6, VIP6, group6)] {
        let (protocol, request, answer) = numbers(vip);
        let other_code = Ip::new(client, vip, Transport::other(protocol, &[request, 1, 0, 0, 0, 0, 0, 0]));
        let mut to_all = echo(client, vip, request, &[0; 4]).frame();
        to_all[..6].fill(0xff);
        for (name, frame) in [
            ("a reply", echo(client, vip, answer, &[0; 4]).frame()),
            ("another code", other_code.frame()),
            ("from a group", echo(group, vip, request, &[0; 4]).frame()),
            ("to all hosts of the link", to_all),
        ] {
            both.passes(&format!("{vip}: {name}"), &frame, Verdict::OtherProtocol);
        }
    }
}
