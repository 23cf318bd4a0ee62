//! Random and mutated packets: the kernel and the host agree, and so does the program that captures; every packet is
//! counted, nothing is lost without a reason.

use std::net::IpAddr;

use lb_common::encap::{Chain, Direction};
use lb_common::row::Row;
use lb_common::verdict::Verdict;
use lb_ebpf::Action;
use lb_tests::bench::xdp::encapsulated;
use lb_tests::fixture::{
    CLIENT4, CLIENT6, FAR, NEAR, Outer, THIS, VIP4, VIP6, by_keys, roll_over, wanted, wanted_row, with_quic,
};
use lb_tests::packet::flags::SYN;
use lb_tests::packet::{Ip, Segment, Transport};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::check::Both;
use crate::fragments;
use crate::icmp::{error, reply};
use crate::probe;
use crate::quic;
use crate::wire::Encapsulated;

/// Frames that the kernel's test run takes: it wants a link header.
const LENGTHS: std::ops::Range<usize> = 14..200;

/// Longer than what fits the way to a member.
fn long(client: IpAddr, vip: IpAddr) -> Vec<u8> {
    Ip::new(client, vip, Transport::tcp(40_000, 443, &[7; 1420])).frame()
}

fn quoting(client: IpAddr, vip: IpAddr, kind: u8) -> Ip {
    error(client, kind, &reply(client, vip, 40_000), 8)
}

fn part(client: IpAddr, vip: IpAddr, index: usize) -> Vec<u8> {
    Ip::new(client, vip, Transport::tcp(40_000, 443, &[7; 60])).parts(7, 40)[index].frame()
}

/// A first part on its way with its flow.
fn collected(client: IpAddr, vip: IpAddr) -> Vec<u8> {
    let chain = Chain::start(Row::new([THIS, NEAR, FAR]), Direction::FromOpener);
    fragments::encapsulated(Outer::V4, client, vip, 0, chain, true).frame()
}

fn seeds() -> Vec<Vec<u8>> {
    let tcp = Transport::tcp(40_000, 443, b"hello");
    let syn = Segment { flags: SYN, sequence: 1, acknowledged: 0 };
    let chain = Chain::start(Row::new([THIS, NEAR, FAR]), Direction::FromOpener);
    vec![
        Ip::new(CLIENT4, VIP4, tcp.clone()).frame(),
        Ip::new(CLIENT4, VIP4, tcp.clone()).options(&[1; 12]).frame(),
        Ip::new(CLIENT4, VIP4, tcp.clone()).tagged(&[(0x88a8, 5), (0x8100, 6)]),
        Ip::new(CLIENT6, VIP6, tcp.clone()).frame(),
        Ip::new(CLIENT6, VIP6, tcp).extension(0).extension(51).frame(),
        Ip::new(CLIENT4, VIP4, Transport::segment(40_000, 443, syn)).frame(),
        Ip::new(CLIENT6, VIP6, Transport::segment(40_000, 443, syn)).frame(),
        Ip::new(CLIENT6, VIP6, Transport::udp(40_000, 443, b"q")).frame(),
        encapsulated(CLIENT4, VIP4),
        encapsulated(CLIENT6, VIP6),
        quoting(CLIENT4, VIP4, 3).frame(),
        quoting(CLIENT6, VIP6, 2).frame(),
        quic::datagram(CLIENT4, VIP4, &quic::short(NEAR)).frame(),
        quic::datagram(CLIENT6, VIP6, &quic::long(THIS)).frame(),
        quic::walking(Outer::V4, CLIENT6, VIP6, chain, &quic::short(THIS)).frame(),
        quic::walking(Outer::V6, CLIENT4, VIP4, chain, &quic::long(NEAR)).frame(),
        part(CLIENT4, VIP4, 0),
        part(CLIENT4, VIP4, 1),
        part(CLIENT6, VIP6, 0),
        part(CLIENT6, VIP6, 1),
        collected(CLIENT4, VIP4),
        collected(CLIENT6, VIP6),
        long(CLIENT4, VIP4),
        long(CLIENT6, VIP6),
        probe::frame(Outer::V4),
        probe::frame(Outer::V6),
        Encapsulated { chain, ..Encapsulated::v4() }.frame(),
        Encapsulated { chain, inner: quoting(CLIENT4, VIP4, 3), ..Encapsulated::v4() }.frame(),
        Encapsulated { inner: quoting(CLIENT6, VIP6, 1), ..Encapsulated::new(Outer::V6, CLIENT6, VIP6) }
            .frame(),
        Encapsulated { chain, ..Encapsulated::new(Outer::V4, CLIENT6, VIP6) }.frame(),
        Encapsulated { chain, ..Encapsulated::new(Outer::V6, CLIENT4, VIP4) }.frame(),
    ]
}

/// A good packet with a few bytes changed, cut or grown.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (prop::sample::select(seeds()), changes, prop::option::of(LENGTHS)).prop_map(
        |(mut frame, changes, len)| {
            for (index, value) in changes {
                let index = index.index(frame.len());
                frame[index] = value;
            }
            if let Some(len) = len {
                frame.resize(len, 0);
            }
            frame
        },
    )
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![1 => prop::collection::vec(any::<u8>(), LENGTHS), 9 => mutated()]
}

#[test]
fn kernel_and_host_agree_on_random_packets() {
    let [one, learned, switched, _] = roll_over();
    for (outer, row, keys) in [
        (Outer::V4, None, one),
        (Outer::V6, None, one),
        (Outer::V4, Some([THIS, NEAR, FAR]), one),
        (Outer::V6, Some([FAR, THIS, NEAR]), one),
        (Outer::V4, None, learned),
        (Outer::V6, None, switched),
        (Outer::V4, Some([FAR, THIS, NEAR]), switched),
    ] {
        let wanted = row.map_or_else(|| wanted(outer), |row| wanted_row(outer, row));
        let mut both = Both::with(&by_keys(with_quic(wanted), keys));
        both.capture();
        let both = std::cell::RefCell::new(&mut both);
        let mut runner =
            TestRunner::new(Config { cases: 2_000, failure_persistence: None, ..Config::default() });
        let result = runner.run(&frames(), |frame| {
            let outcome = both.borrow_mut().run("random", &frame);
            // A full ring takes nothing more.
            both.borrow_mut().handed();
            let is_lost = outcome.action == Action::Drop;
            // What the agent has a copy of is not lost.
            let is_dropped = matches!(outcome.verdicts[0], Verdict::Drop(_) | Verdict::Held | Verdict::Cut);
            prop_assert_eq!(is_lost, is_dropped);
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{error}"));
    }
}
