//! Fragments: to their collector, with their flow, to the agent and back.

use std::net::IpAddr;

use lb_common::encap::{Chain, Direction, OVERHEAD_V4};
use lb_common::fragment::{Head, MAX_FRAME, PROTOCOL_V6};
use lb_common::hash::{Tuple, flow_hash};
use lb_common::row::{MemberId, Row, bucket};
use lb_common::verdict::{DropReason, Verdict};
use lb_ebpf::Action;
use lb_tests::fixture::{
    self, CLIENT4, CLIENT6, FAR, INGRESS, NEAR, Outer, THIS, VIP4, VIP6, port_owned_by, tuple, wanted_row,
};
use lb_tests::kernel::Kernel;
use lb_tests::packet::{Ip, Transport};

use crate::check::Both;
use crate::limits::flood;
use crate::wire::{CLIENT_PORT, Encapsulated, Wire};

use Direction::FromOpener;

const FAMILIES: [(IpAddr, IpAddr); 2] = [(CLIENT4, VIP4), (CLIENT6, VIP6)];

const TCP: u8 = 6;

/// Any identification.
const ID: u32 = 0x0102_a3b4;

/// Bytes of the datagram in each part but the last.
const PART: usize = 64;

fn whole(client: IpAddr, vip: IpAddr, transport: Transport) -> Ip {
    Ip::new(client, vip, transport).tos(0xba)
}

/// The parts of a segment of an open connection, and what its tag is made of.
pub(crate) fn parts(client: IpAddr, vip: IpAddr) -> (Vec<Ip>, Tuple) {
    let segment = Transport::tcp(CLIENT_PORT, 443, &[7; 140]);
    (whole(client, vip, segment).parts(ID, PART), identity(client, vip, ID, TCP))
}

/// A datagram's identity in place of a flow's: the identification for the ports, and a protocol that none is.
pub(crate) fn identity(client: IpAddr, vip: IpAddr, id: u32, protocol: u8) -> Tuple {
    match client {
        IpAddr::V4(_) => tuple(client, vip, 0x80 | protocol, id as u16, 0),
        IpAddr::V6(_) => tuple(client, vip, 0x80 | PROTOCOL_V6 as u8, (id >> 16) as u16, id as u16),
    }
}

/// A part as another member sends it to this one.
pub(crate) fn encapsulated(
    outer: Outer,
    client: IpAddr,
    vip: IpAddr,
    index: usize,
    chain: Chain,
    is_collected: bool,
) -> Encapsulated {
    let (parts, identity) = parts(client, vip);
    let key = fixture::local().keys.in_force;
    let inner = parts[index].clone();
    let hash = flow_hash(&key, &identity);
    Encapsulated { inner, chain, is_collected, hash, ..Encapsulated::new(outer, client, vip) }
}

fn to_this() -> Chain {
    Chain::to_opener(Row::of(THIS))
}

fn all_to(outer: Outer, member: MemberId) -> Both {
    Both::with(&wanted_row(outer, [member, 0, 0]))
}

#[test]
fn all_parts_go_to_the_collector() {
    for outer in [Outer::V4, Outer::V6] {
        let mut both = all_to(outer, NEAR);
        for (client, vip) in FAMILIES {
            let (parts, identity) = parts(client, vip);
            for part in parts.iter().rev() {
                for tags in [&[][..], &[(0x8100, 5)], &[(0x88a8, 5), (0x8100, 6)]] {
                    let name = format!("{outer:?} {vip}, {} tags", tags.len());
                    let sent = both.run(&name, &part.tagged(tags));
                    assert_eq!((sent.verdicts[0], sent.action), (Verdict::ToCollector, Action::Transmit));
                    let wire = Wire { tags, ..Wire::new(outer, Chain::to_opener(Row::of(NEAR))) };
                    assert_eq!(sent.frame, wire.frame(&part.forwarded(), identity), "{name}");
                }
            }
        }
        assert_eq!(both.handed(), [], "nobody waits before the collector");
    }
}

#[test]
fn the_collector_sends_parts_with_their_flow() {
    for outer in [Outer::V4, Outer::V6] {
        let mut both = all_to(outer, NEAR);
        for (client, vip) in FAMILIES {
            let (parts, identity) = parts(client, vip);
            let wire = Wire { is_collected: true, ..Wire::new(outer, Chain::to_opener(Row::of(NEAR))) };
            for (index, part) in parts.iter().enumerate() {
                let mut packet = encapsulated(outer, client, vip, index, to_this(), false);
                packet.outer_tos = 0xba;
                let sent = both.run("collector", &packet.frame());
                assert_eq!(sent.verdicts, [Verdict::Sent], "{outer:?} {vip} {index}");
                assert_eq!(sent.frame, wire.frame(part, identity), "{outer:?} {vip} {index}");
            }
        }
    }
}

#[test]
fn a_first_hop_may_be_the_collector() {
    let wanted = fixture::wanted(Outer::V4);
    let table = wanted.tables.values().next().expect("a table");
    let mut both = Both::with(&wanted);
    for (client, vip) in FAMILIES {
        let collector = |id| {
            let hash = flow_hash(&wanted.config.key, &identity(client, vip, id, TCP));
            Row::from_bits(table.rows[bucket(hash) as usize]).opener()
        };
        let id = (0..).find(|&id| collector(id) == THIS).expect("an identification");
        let of = |owner| {
            let port = port_owned_by(&wanted, owner, client, vip, TCP, 443);
            whole(client, vip, Transport::tcp(port, 443, &[7; 140])).parts(id, PART)
        };
        for part in of(THIS) {
            both.passes("its own", &part.frame(), Verdict::DeliveredFirstHop);
        }
        for part in of(NEAR) {
            let sent = both.run("of another", &part.frame());
            assert_eq!(sent.verdicts, [Verdict::Sent]);
            let wire = Wire { is_collected: true, ..Wire::new(Outer::V4, Chain::to_opener(Row::of(NEAR))) };
            assert_eq!(sent.frame, wire.frame(&part.forwarded(), identity(client, vip, id, TCP)));
        }
    }
}

#[test]
fn the_owner_takes_parts_in_any_order() {
    for outer in [Outer::V4, Outer::V6] {
        let mut both = all_to(outer, NEAR);
        for (client, vip) in FAMILIES {
            for index in [2, 1, 0] {
                let packet = encapsulated(outer, client, vip, index, to_this(), true);
                let taken = both.run("owner", &packet.frame());
                assert_eq!((taken.verdicts[0], taken.action), (Verdict::DeliveredMember, Action::Pass));
                assert_eq!(taken.frame, packet.inner.frame());
            }
        }
    }
}

#[test]
fn parts_walk_as_their_flow_does() {
    let mut both = Both::fixture(Outer::V4);
    let chain = |row, hop| Chain { row: Row::new(row), direction: FromOpener, stand_ins: 0, hop };
    for (client, vip) in FAMILIES {
        let (parts, identity) = parts(client, vip);
        let of = |index, chain| encapsulated(Outer::V4, client, vip, index, chain, true);
        let asked = chain([THIS, NEAR, 0], 0);
        assert_eq!(both.run("early", &of(1, asked).frame()).verdicts, [Verdict::Held]);
        for index in [0, 1, 2] {
            let mut packet = of(index, asked);
            packet.outer_tos = 0xba;
            let sent = both.run("on", &packet.frame());
            assert_eq!(sent.verdicts, [Verdict::PassedOn], "{vip} {index}");
            let wire = Wire { is_collected: true, ..Wire::new(Outer::V4, chain([THIS, NEAR, 0], 1)) };
            assert_eq!(sent.frame, wire.frame(&parts[index], identity), "{vip} {index}");
            let last = both.run("the last one", &of(index, chain([NEAR, THIS, 0], 1)).frame());
            assert_eq!((last.verdicts[0], last.frame), (Verdict::FoundNowhere, parts[index].frame()));
        }
        both.drops("not its hop", &of(0, chain([THIS, NEAR, 0], 1)).frame(), DropReason::NotMyHop);
        both.drops("looping", &of(0, chain([THIS, NEAR, THIS], 0)).frame(), DropReason::LoopingChain);
    }
}

#[test]
fn an_early_part_goes_to_the_agent_and_comes_back() {
    let mut both = all_to(Outer::V4, NEAR);
    for (client, vip) in FAMILIES {
        let of = |index| encapsulated(Outer::V4, client, vip, index, to_this(), false).frame();
        let early = both.run("early", &of(1));
        assert_eq!((early.verdicts[0], early.action), (Verdict::Held, Action::Drop));
        let handed = both.handed();
        let [(head, frame)] = &handed[..] else { panic!("{handed:?}") };
        assert_eq!((head.interface, head.room, head.len as usize), (INGRESS, 0, frame.len()));
        assert_eq!(*frame, of(1));
        let lost = both.run_given("its first part did not come", frame);
        assert_eq!(lost.verdicts, [Verdict::Drop(DropReason::Fragment)]);
        assert_eq!(both.run("the first part", &of(0)).verdicts, [Verdict::Sent]);
        let given = both.run_given("given back", frame);
        assert_eq!((given.verdicts[0], given.action), (Verdict::Sent, Action::Transmit));
        assert_eq!(both.handed(), []);
    }
}

#[test]
fn a_frame_is_given_back_as_one_that_comes_in() {
    let mut kernel = Kernel::with(&wanted_row(Outer::V4, [THIS, 0, 0])).expect("the program loads");
    let (parts, _) = parts(CLIENT4, VIP4);
    let lost = kernel.give(&parts[1].frame()).expect("the kernel takes it");
    assert_eq!(lost, [Verdict::Drop(DropReason::Fragment)]);
    let known = kernel.give(&parts[0].frame()).expect("the kernel takes it");
    assert_eq!(known, [Verdict::DeliveredFirstHop]);
}

#[test]
fn what_the_agent_does_not_take_is_dropped_by_name() {
    let mut both = all_to(Outer::V4, THIS);
    let long = whole(CLIENT4, VIP4, Transport::udp(CLIENT_PORT, 443, &[7; 2 * MAX_FRAME]));
    let at = |start: usize, len| long.part(ID, start..start + len).frame();
    assert_eq!(both.run("as long as there is room", &at(64, MAX_FRAME - 34)).verdicts, [Verdict::Held]);
    both.drops("longer", &at(64, MAX_FRAME - 33), DropReason::LongFragment);
    let mut kernel = Kernel::with(&wanted_row(Outer::V4, [THIS, 0, 0])).expect("the program loads");
    flood(&mut kernel, &at(64, 64), Verdict::Held, DropReason::FragmentUnheld);
}

#[test]
fn a_part_that_hides_the_transport_header_is_dropped() {
    let mut both = all_to(Outer::V4, THIS);
    for (client, vip) in FAMILIES {
        let segment = whole(client, vip, Transport::tcp(CLIENT_PORT, 443, &[7; 140]));
        for (name, bytes) in [("ports only", 0..16), ("over the flags", 8..80), ("over the end", 16..80)] {
            both.drops(name, &segment.part(ID, bytes).frame(), DropReason::TinyFragment);
        }
        assert_eq!(both.run("behind it", &segment.part(ID, 24..80).frame()).verdicts, [Verdict::Held]);
        let datagram = whole(client, vip, Transport::udp(CLIENT_PORT, 443, &[7; 140]));
        assert_eq!(both.run("behind UDP's", &datagram.part(ID, 8..80).frame()).verdicts, [Verdict::Held]);
        both.passes("all of UDP's", &datagram.part(ID, 0..8).frame(), Verdict::DeliveredFirstHop);
    }
    let short = Ip::new(CLIENT4, VIP4, Transport::other(17, &[0; 3])).fragment(0x2000);
    both.drops("three bytes of the ports", &short.frame(), DropReason::TinyFragment);
}

#[test]
fn what_has_no_ports_stays_at_the_collector() {
    let mut both = all_to(Outer::V4, THIS);
    for (client, vip) in FAMILIES {
        let icmp = if vip.is_ipv4() { 1 } else { 58 };
        for part in whole(client, vip, Transport::other(icmp, &[8; 140])).parts(ID, PART) {
            both.passes("a large ping", &part.frame(), Verdict::OtherProtocol);
            let hash = flow_hash(&fixture::local().keys.in_force, &identity(client, vip, ID, icmp));
            let packet =
                Encapsulated { inner: part.clone(), hash, ..Encapsulated::new(Outer::V4, client, vip) };
            let taken = both.run("from a first hop", &packet.frame());
            assert_eq!((taken.verdicts[0], taken.frame), (Verdict::OtherProtocol, part.frame()));
        }
        let other = whole(client, vip, Transport::other(47, &[8; 140])).parts(ID, PART);
        both.drops("another protocol", &other[0].frame(), DropReason::Fragment);
        let no_service = whole(client, vip, Transport::tcp(CLIENT_PORT, 22, &[7; 140])).parts(ID, PART);
        both.passes("a port without a Service", &no_service[0].frame(), Verdict::NoService);
        both.passes("the rest of it", &no_service[1].frame(), Verdict::NoService);
        let unserved = whole(client, vip, Transport::udp(CLIENT_PORT, 53, &[7; 140])).parts(ID, PART);
        both.drops("a Service without a listener", &unserved[0].frame(), DropReason::NoLocalService);
    }
    let extended = Ip::new(CLIENT6, VIP6, Transport::tcp(CLIENT_PORT, 443, &[7; 40])).extension(0);
    let first = extended.part(ID, 0..40).frame();
    both.passes("behind another header", &first, Verdict::DeliveredFirstHop);
}

#[test]
fn what_is_not_proven_is_dropped() {
    let mut both = all_to(Outer::V4, NEAR);
    for (client, vip) in FAMILIES {
        let good = || encapsulated(Outer::V4, client, vip, 0, to_this(), false);
        let flow = flow_hash(&fixture::local().keys.in_force, &tuple(client, vip, TCP, CLIENT_PORT, 443));
        both.drops("its flow's tag", &Encapsulated { hash: flow, ..good() }.frame(), DropReason::BadTag);
        let cluster = Encapsulated { cluster: 8, ..good() };
        both.drops("another cluster", &cluster.frame(), DropReason::WrongCluster);
        for chain in [Chain::to_opener(Row::of(NEAR)), Chain::to_opener(Row::new([THIS, NEAR, 0]))] {
            for is_collected in [false, true] {
                let other = Encapsulated { chain, is_collected, ..good() };
                let name = format!("{chain:?} {is_collected}");
                if is_collected && chain.target() == Some(THIS) {
                    continue;
                }
                both.drops(&name, &other.frame(), DropReason::NotMyHop);
            }
        }
        let mut bytes = good().frame();
        // The bit that says that the collector has seen it.
        bytes[14 + 20 + 8 + 4] |= 8;
        both.drops("a bit more", &bytes, DropReason::BadTag);
    }
}

#[test]
fn what_is_too_big_is_cut_if_it_may_be() {
    const MTU: u16 = 1400;
    const ROOM: u16 = MTU - OVERHEAD_V4 as u16;
    let mut wanted = wanted_row(Outer::V4, [NEAR, 0, 0]);
    wanted.members.values_mut().for_each(|member| member.mtu = MTU);
    let mut both = Both::with(&wanted);
    for (client, vip) in FAMILIES {
        let long = whole(client, vip, Transport::tcp(CLIENT_PORT, 443, &[7; 4_000]));
        let part = long.part(ID, 0..1_400);
        let packet = Ip::new(client, vip, Transport::tcp(CLIENT_PORT, 443, &[7; 1_400]));
        for (ip, tags, start) in
            [(&part, &[][..], 14), (&packet, &[][..], 14), (&packet, &[(0x88a8, 5), (0x8100, 6)][..], 22)]
        {
            let frame = ip.tagged(tags);
            let verdict = both.run("too big", &frame).verdicts[0];
            let handed = both.handed();
            if vip.is_ipv6() {
                assert_eq!((verdict, handed), (Verdict::ToldTooBig, vec![]), "only its sender cuts it");
                continue;
            }
            assert_eq!(verdict, Verdict::Cut);
            let len = frame.len() as u32;
            let head = Head { interface: INGRESS, len, room: ROOM, start, ..Head::default() };
            assert_eq!(handed, [(head, frame)]);
        }
        let given = both.run_given("given back", &part.frame());
        assert_eq!(given.verdicts, [Verdict::Drop(DropReason::TooBig)], "cut once");
    }
    let of_another = encapsulated(Outer::V4, CLIENT4, VIP4, 0, to_this(), false);
    let mut big = of_another;
    big.inner = whole(CLIENT4, VIP4, Transport::tcp(CLIENT_PORT, 443, &[7; 4_000])).part(ID, 0..1_400);
    both.drops("too big for the way on", &big.frame(), DropReason::TooBig);
}

#[test]
fn far_members_are_reached_by_another_interface() {
    let mut both = all_to(Outer::V4, FAR);
    let (parts, _) = parts(CLIENT4, VIP4);
    let sent = both.run("far", &parts[0].frame());
    assert!(matches!(sent.action, Action::Redirect(_)), "{sent:?}");
}
