//! First hop and member: bytes on the wire, and what a member refuses.

use std::net::IpAddr;

use lb_common::checksum;
use lb_common::encap::{Chain, DEFAULT_PORT, INNER_V6};
use lb_common::hash::{FlowKey, KEY_WORDS, flow_hash};
use lb_common::row::Row;
use lb_common::verdict::{DropReason, Verdict};
use lb_ebpf::Action;
use lb_tests::fixture::{
    self, CLIENT4, CLIENT6, CLUSTER, FAR, NEAR, Outer, THIS, VIP4, VIP6, address, port_owned_by, tuple,
};
use lb_tests::packet::{Ip, Transport};

use crate::check::Both;
use crate::wire::{CLIENT_PORT, Encapsulated, Wire};

const FAMILIES: [(IpAddr, IpAddr); 2] = [(CLIENT4, VIP4), (CLIENT6, VIP6)];

#[test]
fn a_first_hop_sends_what_a_member_takes() {
    for outer in [Outer::V4, Outer::V6] {
        let wanted = fixture::wanted(outer);
        let mut both = Both::with(&wanted);
        for (client, vip) in FAMILIES {
            let port = port_owned_by(&wanted, NEAR, client, vip, 6, 443);
            let inner = Ip::new(client, vip, Transport::tcp(port, 443, b"hello")).tos(0xba);
            for tags in [&[][..], &[(0x8100, 5)], &[(0x88a8, 5), (0x8100, 6)]] {
                let name = format!("{outer:?} outside, {vip}, {} tags", tags.len());
                let sent = both.run(&name, &inner.tagged(tags));
                assert_eq!((sent.verdicts[0], sent.action), (Verdict::Sent, Action::Transmit), "{name}");
                let wire = Wire { tags, ..Wire::new(outer, Chain::to_opener(Row::of(NEAR))) };
                assert_eq!(
                    sent.frame,
                    wire.frame(&inner.forwarded(), tuple(client, vip, 6, port, 443)),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn a_member_takes_the_packet_out() {
    for outer in [Outer::V4, Outer::V6] {
        let mut both = Both::fixture(outer);
        for (client, vip) in FAMILIES {
            let packet = Encapsulated::new(outer, client, vip);
            for tags in [&[][..], &[(0x8100, 5)], &[(0x88a8, 5), (0x8100, 6)]] {
                let name = format!("{outer:?} outside, {vip}, {} tags", tags.len());
                let taken = both.run(&name, &packet.datagram().tagged(tags));
                assert_eq!(
                    (taken.verdicts[0], taken.action),
                    (Verdict::DeliveredMember, Action::Pass),
                    "{name}"
                );
                assert_eq!(taken.frame, packet.inner.tagged(tags), "{name}");
            }
        }
    }
}

#[test]
fn what_is_not_proven_is_dropped() {
    let mut both = Both::fixture(Outer::V4);
    let wrong_key = FlowKey::new([9; KEY_WORDS]);
    let good = Encapsulated::v4;
    let to_opener = |members| Chain::to_opener(Row::new(members));
    let elsewhere = Ip::new(CLIENT4, address(Outer::V4, FAR), Transport::tcp(CLIENT_PORT, 443, b"hello"));
    let elsewhere_hash = flow_hash(
        &fixture::local().keys.in_force,
        &tuple(CLIENT4, address(Outer::V4, FAR), 6, CLIENT_PORT, 443),
    );
    for (name, packet, reason) in [
        ("another key", Encapsulated { key: wrong_key, ..good() }, DropReason::BadTag),
        ("another flow's tag", Encapsulated { hash: 1, ..good() }, DropReason::BadTag),
        ("another cluster", Encapsulated { cluster: CLUSTER + 1, ..good() }, DropReason::WrongCluster),
        (
            "an unknown member",
            Encapsulated { chain: to_opener([THIS, 77, 0]), ..good() },
            DropReason::UnknownChain,
        ),
        (
            "for another member",
            Encapsulated { chain: to_opener([FAR, THIS, 0]), ..good() },
            DropReason::NotMyHop,
        ),
        (
            "a hop outside of the row",
            Encapsulated { chain: Chain { hop: 3, ..to_opener([THIS, 0, 0]) }, ..good() },
            DropReason::NotMyHop,
        ),
        (
            "a member twice in the row",
            Encapsulated { chain: to_opener([THIS, NEAR, THIS]), ..good() },
            DropReason::LoopingChain,
        ),
        (
            "another member twice in the row",
            Encapsulated { chain: to_opener([THIS, NEAR, NEAR]), ..good() },
            DropReason::LoopingChain,
        ),
        (
            "a hop beyond the row's end",
            Encapsulated { chain: Chain { hop: 1, ..to_opener([THIS, 0, 0]) }, ..good() },
            DropReason::NotMyHop,
        ),
        (
            "not for a VIP",
            Encapsulated { inner: elsewhere, hash: elsewhere_hash, ..good() },
            DropReason::NotAVip,
        ),
    ] {
        both.drops(name, &packet.frame(), reason);
    }
}

/// Where the GUE header starts in a frame with an IPv4 outer header.
const GUE: usize = 14 + 20 + 8;

#[test]
fn each_bit_of_the_chain_is_under_the_tag() {
    let mut both = Both::fixture(Outer::V4);
    let good = Encapsulated::v4().frame();
    for offset in GUE + 4..GUE + 20 {
        for bit in 0..8 {
            let mut frame = good.clone();
            frame[offset] ^= 1 << bit;
            let lost = both.run(&format!("byte {} bit {bit}", offset - GUE), &frame);
            let expected = match offset - GUE {
                4 if bit >= 4 => DropReason::UnknownVersion,
                12..16 => DropReason::WrongCluster,
                _ => DropReason::BadTag,
            };
            assert_eq!(lost.verdicts, [Verdict::Drop(expected)], "byte {} bit {bit}", offset - GUE);
        }
    }
}

#[test]
fn what_is_cut_short_or_contradicts_itself_is_dropped() {
    let mut both = Both::fixture(Outer::V4);
    let good = Encapsulated::v4();
    let header = good.header();
    let datagram = |payload: &[u8]| {
        let udp = Transport::udp(0xc123, DEFAULT_PORT, payload);
        Ip::new(address(Outer::V4, NEAR), address(Outer::V4, THIS), udp).frame()
    };
    let inner = good.inner.bytes();
    let ping = Ip::new(CLIENT4, VIP4, Transport::other(1, &[8, 0, 0, 0]));
    let changed = |offset: usize, value: u8| {
        let mut frame = good.frame();
        frame[GUE + offset] = value;
        frame
    };
    for (name, frame) in [
        ("nothing inside", datagram(b"")),
        ("half a header", datagram(&header[..10])),
        ("no packet behind the header", datagram(&header)),
        ("half an inner header", datagram(&[&header[..], &inner[..12]].concat())),
        ("half an inner packet", datagram(&[&header[..], &inner[..30]].concat())),
        ("neither TCP nor UDP inside", Encapsulated { inner: ping, ..Encapsulated::v4() }.frame()),
        ("another GUE variant", changed(0, 0x44)),
        ("other private data", changed(0, 0x03)),
        ("another inner protocol", changed(1, 47)),
        ("the other family", changed(1, INNER_V6)),
        ("flags", changed(2, 0x80)),
    ] {
        both.drops(name, &frame, DropReason::MalformedEncap);
    }
    both.drops("another version", &changed(4, 0x20), DropReason::UnknownVersion);
}

#[test]
fn the_packet_inside_is_as_long_as_there_is_room_for() {
    for (outer, (client, vip)) in
        [Outer::V4, Outer::V6].into_iter().flat_map(|outer| FAMILIES.map(|site| (outer, site)))
    {
        let mut both = Both::fixture(outer);
        let good = Encapsulated::new(outer, client, vip);
        let (header, inner) = (good.header(), good.inner.bytes());
        let of = |payload: &[u8]| {
            let udp = Transport::udp(0xc123, DEFAULT_PORT, payload);
            Ip::new(address(outer, NEAR), address(outer, THIS), udp).frame()
        };
        let more = of(&[&header[..], &inner, &[0; 4]].concat());
        both.drops("bytes behind it", &more, DropReason::MalformedEncap);
        // The rest of it stands where Ethernet's padding does.
        let (part, rest) = inner.split_at(inner.len() - 1);
        let less = [of(&[&header[..], part].concat()), rest.to_vec()].concat();
        both.drops("its end in the padding", &less, DropReason::MalformedEncap);
        let padded = [good.frame(), vec![0; 20]].concat();
        assert_eq!(both.run("padded", &padded).verdicts, [Verdict::DeliveredMember]);
        // As long as a packet can be where it came in; no way on takes it.
        let inner = Ip::new(client, vip, Transport::tcp(CLIENT_PORT, 443, &[7; 3_000]));
        let long = |chain| {
            Encapsulated { chain, inner: inner.clone(), ..Encapsulated::new(outer, client, vip) }.frame()
        };
        let taken = both.run("a jumbo", &long(Chain::to_opener(Row::of(THIS))));
        assert_eq!((taken.verdicts[0], taken.frame), (Verdict::DeliveredMember, inner.frame()));
        both.drops("a jumbo", &long(Chain::to_opener(Row::new([THIS, NEAR, 0]))), DropReason::TooBig);
    }
}

#[test]
fn congestion_outside_is_told_inside() {
    // Outer and inner ECN, and what becomes of it: RFC 6040, figure 4.
    const CE: u8 = 3;
    for (client, vip) in FAMILIES {
        let mut both = Both::fixture(Outer::V4);
        for (outer, inner, expected) in [
            (0, 0, Some(0)),
            (CE, 1, Some(CE)),
            (CE, 2, Some(CE)),
            (CE, CE, Some(CE)),
            (1, 2, Some(2)),
            (CE, 0, None),
        ] {
            let base = Encapsulated::new(Outer::V4, client, vip);
            let with = |ecn| base.inner.clone().tos(0xb8 | ecn);
            let packet = Encapsulated {
                inner: with(inner),
                outer_tos: outer,
                ..Encapsulated::new(Outer::V4, client, vip)
            };
            let name = format!("{vip}: outer {outer}, inner {inner}");
            match expected {
                Some(ecn) => {
                    let taken = both.run(&name, &packet.frame());
                    assert_eq!(taken.frame, with(ecn).frame(), "{name}: right checksum included");
                }
                None => both.drops(&name, &packet.frame(), DropReason::EcnLost),
            }
        }
    }
}

#[test]
fn the_outer_checksum_is_right() {
    let wanted = fixture::wanted(Outer::V4);
    let mut both = Both::with(&wanted);
    for len in [0_usize, 1, 100, 1000, 1412] {
        let port = port_owned_by(&wanted, NEAR, CLIENT4, VIP4, 6, 443);
        let frame = Ip::new(CLIENT4, VIP4, Transport::tcp(port, 443, &vec![1; len])).frame();
        let sent = both.run("sent", &frame).frame;
        assert_eq!(checksum::fold(checksum::sum(&sent[14..34])), 0xffff, "{len} bytes");
    }
}
