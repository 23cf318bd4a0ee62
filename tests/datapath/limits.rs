//! What a way does not take, what nobody serves, and packets with few hops left.

use std::net::IpAddr;
use std::time::Instant;

use lb_common::checksum;
use lb_common::encap::{Chain, OVERHEAD_V4, OVERHEAD_V6};
use lb_common::limit::{BURST, INTERVAL};
use lb_common::row::Row;
use lb_common::verdict::{DropReason, Verdict};
use lb_ebpf::Action;
use lb_tests::fixture::{CLIENT4, CLIENT6, NEAR, Outer, THIS, VIP4, VIP6, address, tuple, wanted_row};
use lb_tests::kernel::Kernel;
use lb_tests::packet::{Ip, NODE_MAC, ROUTER_MAC, Transport, link};

use crate::check::Both;
use crate::icmp::{error, reply};
use crate::wire::{CLIENT_PORT, Encapsulated, Wire};

const FAMILIES: [(IpAddr, IpAddr); 2] = [(CLIENT4, VIP4), (CLIENT6, VIP6)];

/// The way to every member takes this much.
const MTU: u16 = 1400;

const DONT_FRAGMENT: u16 = 0x4000;

/// Bytes that are quoted.
const QUOTE: usize = 512;

fn all_to_near(outer: Outer) -> Both {
    let mut wanted = wanted_row(outer, [NEAR, 0, 0]);
    wanted.members.values_mut().for_each(|member| member.mtu = MTU);
    Both::with(&wanted)
}

/// What is told about `packet`.
fn told(client: IpAddr, vip: IpAddr, packet: &Ip, mtu: u16, tags: &[(u16, u16)]) -> Vec<u8> {
    let kind = if vip.is_ipv4() { [3, 4] } else { [2, 0] };
    message(client, vip, kind, mtu, &packet.bytes()[..QUOTE], tags)
}

/// All hosts of a link, in the family of `vip`.
fn group(vip: IpAddr) -> IpAddr {
    if vip.is_ipv4() { [224, 0, 0, 1].into() } else { [0xff02, 0, 0, 0, 0, 0, 0, 1].into() }
}

/// An ICMP error from `from`.
fn message(
    client: IpAddr,
    from: IpAddr,
    kind: [u8; 2],
    last: u16,
    quote: &[u8],
    tags: &[(u16, u16)],
) -> Vec<u8> {
    let [high, low] = last.to_be_bytes();
    let (ethertype, protocol) = if from.is_ipv4() { (0x0800, 1) } else { (0x86dd, 58) };
    let mut bytes = [kind[0], kind[1], 0, 0, 0, 0, high, low].to_vec();
    bytes.extend(quote);
    let mut sum = checksum::sum(&bytes);
    if let (IpAddr::V6(client), IpAddr::V6(from)) = (client, from) {
        sum += checksum::sum(&[client.octets(), from.octets()].concat()) + bytes.len() as u32 + protocol;
    }
    bytes[2..4].copy_from_slice(&checksum::finish(sum).to_be_bytes());
    let ip = Ip::new(from, client, Transport::other(protocol as u8, &bytes)).fragment(0x4000);
    [link(ROUTER_MAC, NODE_MAC, tags, ethertype), ip.bytes()].concat()
}

#[test]
fn a_client_is_told_what_fits_the_way() {
    for (outer, overhead) in [(Outer::V4, OVERHEAD_V4), (Outer::V6, OVERHEAD_V6)] {
        let mut both = all_to_near(outer);
        let room = MTU - overhead as u16;
        for (client, vip) in FAMILIES {
            let headers = if vip.is_ipv4() { 40 } else { 60 };
            let of = |len: u16| {
                let payload: Vec<u8> = (0..len - headers).map(|byte| byte as u8 | 1).collect();
                Ip::new(client, vip, Transport::tcp(CLIENT_PORT, 443, &payload))
            };
            assert_eq!(both.run("it fits", &of(room).frame()).verdicts, [Verdict::Sent]);
            for tags in [&[][..], &[(0x8100, 5)], &[(0x88a8, 5), (0x8100, 6)]] {
                for packet in [of(room + 1).fragment(DONT_FRAGMENT), of(1500).fragment(DONT_FRAGMENT)] {
                    let name = format!("{outer:?} {vip}, {} tags", tags.len());
                    let answer = both.run(&name, &packet.tagged(tags));
                    assert_eq!(answer.verdicts, [Verdict::ToldTooBig], "{name}");
                    assert_eq!(answer.action, Action::Transmit, "{name}");
                    assert_eq!(answer.frame, told(client, vip, &packet, room, tags), "{name}");
                }
            }
        }
    }
}

#[test]
fn not_everybody_is_told() {
    let mut both = all_to_near(Outer::V4);
    for (client, vip) in FAMILIES {
        let long = Transport::tcp(CLIENT_PORT, 443, &[7; 1400]);
        both.drops(
            "a group",
            &Ip::new(group(vip), vip, long.clone()).fragment(DONT_FRAGMENT).frame(),
            DropReason::TooBig,
        );
        let mut to_all = Ip::new(client, vip, long).fragment(DONT_FRAGMENT).frame();
        to_all[..6].fill(0xff);
        both.drops("sent to all", &to_all, DropReason::TooBig);
        let about = Ip::new(vip, client, Transport::tcp(443, CLIENT_PORT, &[7; 1400]));
        let kind = if vip.is_ipv4() { 3 } else { 1 };
        both.drops("an error", &error(client, kind, &about, 1400).frame(), DropReason::TooBig);
    }
}

/// Frames that are given to the kernel in a row: far more than a burst on every CPU.
const FLOOD: u64 = 3_000;

pub(crate) fn flood(kernel: &mut Kernel, frame: &[u8], answered: Verdict, limited: DropReason) {
    let cpus = aya::util::nr_cpus().expect("the number of CPUs") as u64;
    kernel.forget_limits().expect("limits can be written");
    let (mut answers, began) = (0, Instant::now());
    for _ in 0..FLOOD {
        match kernel.run(frame).expect("a run").verdicts[..] {
            [verdict] if verdict == answered => answers += 1,
            [verdict] => assert_eq!(verdict, Verdict::Drop(limited)),
            ref others => panic!("{others:?}"),
        }
    }
    let passed = began.elapsed().as_nanos() as u64 / INTERVAL + 1;
    assert!(answers >= BURST, "{answers}");
    assert!(answers <= cpus * (BURST + passed), "{answers} in {passed} intervals");
}

#[test]
fn answers_are_limited() {
    let mut wanted = wanted_row(Outer::V4, [NEAR, 0, 0]);
    wanted.members.values_mut().for_each(|member| member.mtu = MTU);
    let mut kernel = Kernel::with(&wanted).expect("the program loads");
    let long =
        Ip::new(CLIENT4, VIP4, Transport::tcp(CLIENT_PORT, 443, &[7; 1400])).fragment(DONT_FRAGMENT).frame();
    flood(&mut kernel, &long, Verdict::ToldTooBig, DropReason::TooBig);
    let expired = Ip::new(CLIENT4, VIP4, Transport::tcp(CLIENT_PORT, 443, b"")).ttl(1).frame();
    flood(&mut kernel, &expired, Verdict::ToldExpired, DropReason::Expired);
    for (client, vip) in FAMILIES {
        for transport in [Transport::tcp(CLIENT_PORT, 22, b""), Transport::udp(CLIENT_PORT, 22, b"payload")] {
            let frame = Ip::new(client, vip, transport).frame();
            flood(&mut kernel, &frame, Verdict::NoService, DropReason::RefusalLimit);
        }
    }
}

/// What is told about `packet`, which had no hop left, by the node if it has an address of its family.
fn told_expired(outer: Outer, client: IpAddr, vip: IpAddr, packet: &Ip, tags: &[(u16, u16)]) -> Vec<u8> {
    let (kind, headers) = if vip.is_ipv4() { (11, 20) } else { (3, 40) };
    let node = address(outer, THIS);
    let own = if node.is_ipv4() == vip.is_ipv4() { node } else { vip };
    message(client, own, [kind, 0], 0, &packet.bytes()[..headers + 8], tags)
}

#[test]
fn the_way_to_a_member_is_one_hop() {
    for outer in [Outer::V4, Outer::V6] {
        let mut both = all_to_near(outer);
        for (client, vip) in FAMILIES {
            for (protocol, transport) in
                [(6, Transport::tcp(CLIENT_PORT, 443, b"")), (17, Transport::udp(CLIENT_PORT, 443, b""))]
            {
                let of = |ttl| Ip::new(client, vip, transport.clone()).ttl(ttl);
                let flow = tuple(client, vip, protocol, CLIENT_PORT, 443);
                let wire = Wire { tos: 0, ..Wire::new(outer, Chain::to_opener(Row::of(NEAR))) };
                for ttl in [2, 3, 255] {
                    let sent = both.run("hops left", &of(ttl).frame());
                    assert_eq!(sent.frame, wire.frame(&of(ttl - 1), flow), "{outer:?} {vip} {ttl}");
                }
                for (ttl, tags) in
                    [(1, &[][..]), (0, &[]), (1, &[(0x8100, 5)]), (1, &[(0x88a8, 5), (0x8100, 6)])]
                {
                    let name = format!("{outer:?} {vip} {ttl}, {} tags", tags.len());
                    let answer = both.run(&name, &of(ttl).tagged(tags));
                    assert_eq!(answer.verdicts, [Verdict::ToldExpired], "{name}");
                    assert_eq!(answer.action, Action::Transmit, "{name}");
                    assert_eq!(answer.frame, told_expired(outer, client, vip, &of(ttl), tags), "{name}");
                }
            }
        }
    }
}

#[test]
fn who_is_at_home_needs_no_hop() {
    let mut both = Both::with(&wanted_row(Outer::V4, [THIS, 0, 0]));
    for (client, vip) in FAMILIES {
        let last = Ip::new(client, vip, Transport::tcp(CLIENT_PORT, 443, b"")).ttl(1);
        both.passes("owned here", &last.frame(), Verdict::DeliveredFirstHop);
    }
}

#[test]
fn not_everybody_is_told_of_the_last_hop() {
    let mut both = all_to_near(Outer::V4);
    for (client, vip) in FAMILIES {
        let kind = if vip.is_ipv4() { 11 } else { 3 };
        let expired = error(client, kind, &reply(client, vip, CLIENT_PORT), 8).ttl(1);
        both.drops("an error", &expired.frame(), DropReason::Expired);
        let of_group = Ip::new(group(vip), vip, Transport::tcp(CLIENT_PORT, 443, b"")).ttl(1);
        both.drops("a group", &of_group.frame(), DropReason::Expired);
    }
}

#[test]
fn inside_of_the_edge_hops_do_not_count() {
    for (client, vip) in FAMILIES {
        let last = Ip::new(client, vip, Transport::tcp(CLIENT_PORT, 443, b"")).ttl(1);
        let packet = Encapsulated { inner: last.clone(), ..Encapsulated::new(Outer::V4, client, vip) };
        let taken = Both::fixture(Outer::V4).run("member", &packet.frame());
        assert_eq!((taken.verdicts[0], taken.frame), (Verdict::DeliveredMember, last.frame()), "{vip}");
    }
}
