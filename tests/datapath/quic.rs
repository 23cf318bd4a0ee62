//! QUIC: a connection ID of ours names the member, whatever the row says; everything else goes by the row.

use std::net::IpAddr;

use lb_agent::l4::wanted::Wanted;
use lb_common::encap::{Chain, Direction};
use lb_common::hash::{FlowKey, KEY_WORDS, flow_hash};
use lb_common::map::member;
use lb_common::quic::{ConnectionId, ID_LEN};
use lb_common::row::{MemberId, Row};
use lb_common::verdict::{DropReason, Verdict};
use lb_ebpf::Action;
use lb_tests::fixture::{
    self, CLIENT4, CLIENT6, FAR, NEAR, Outer, THIS, VIP4, VIP6, tuple, wanted_row, with_quic,
};
use lb_tests::packet::{Ip, Transport};

use crate::check::Both;
use crate::icmp::error;
use crate::wire::{CLIENT_PORT, Encapsulated, Wire};

use Direction::{FromOpener, ToOpener};

const FAMILIES: [(IpAddr, IpAddr); 2] = [(CLIENT4, VIP4), (CLIENT6, VIP6)];

/// A member that no node here knows.
const UNKNOWN: MemberId = 77;

pub(crate) const NONCE: u64 = 0x0123_4567_89ab_cdef;

fn id(member: MemberId) -> [u8; ID_LEN] {
    ConnectionId::new(&fixture::local().keys.in_force, member, NONCE).bytes()
}

/// RFC 9000, 17.3.1: flags, connection ID, and what is encrypted.
pub(crate) fn with_short(id: &[u8]) -> Vec<u8> {
    [&[0x43], id, &[0x5a; 24]].concat()
}

/// RFC 9000, 17.2: flags, version, the length of the connection ID and it, the client's own, and the rest.
fn with_long(id: &[u8]) -> Vec<u8> {
    [&[0xc3, 0, 0, 0, 1, id.len() as u8], id, &[8], &[7; 8], &[0x5a; 24]].concat()
}

/// A packet of a connection that `member` has.
pub(crate) fn short(member: MemberId) -> Vec<u8> {
    with_short(&id(member))
}

/// One of its handshake.
pub(crate) fn long(member: MemberId) -> Vec<u8> {
    with_long(&id(member))
}

pub(crate) fn datagram(client: IpAddr, vip: IpAddr, payload: &[u8]) -> Ip {
    Ip::new(client, vip, Transport::udp(CLIENT_PORT, 443, payload)).tos(0xba)
}

/// The datagram on its way along a chain.
pub(crate) fn walking(
    outer: Outer,
    client: IpAddr,
    vip: IpAddr,
    chain: Chain,
    payload: &[u8],
) -> Encapsulated {
    let hash = flow_hash(&fixture::local().keys.in_force, &tuple(client, vip, 17, CLIENT_PORT, 443));
    let inner = datagram(client, vip, payload);
    Encapsulated { inner, hash, chain, ..Encapsulated::new(outer, client, vip) }
}

fn chain(row: [MemberId; 3], direction: Direction, hop: u8) -> Chain {
    Chain { row: Row::new(row), direction, stand_ins: 0, hop }
}

fn quic(outer: Outer, row: [MemberId; 3]) -> Wanted {
    with_quic(wanted_row(outer, row))
}

/// The first hop sends a datagram with `payload` by `chain`, for both families.
fn sends(both: &mut Both, outer: Outer, name: &str, payload: &[u8], chain: Chain) {
    for (client, vip) in FAMILIES {
        let name = format!("{name}, {vip}, {outer:?} outside");
        let inner = datagram(client, vip, payload);
        let sent = both.run(&name, &inner.frame());
        assert_eq!(sent.verdicts, [Verdict::Sent], "{name}");
        let flow = tuple(client, vip, 17, CLIENT_PORT, 443);
        assert_eq!(sent.frame, Wire::new(outer, chain).frame(&inner.forwarded(), flow), "{name}");
    }
}

#[test]
fn an_id_of_ours_leads_to_its_member() {
    for outer in [Outer::V4, Outer::V6] {
        for row in [[FAR, 0, 0], [THIS, 0, 0], [FAR, THIS, 0]] {
            let mut both = Both::with(&quic(outer, row));
            for (name, payload) in [("short", short(NEAR)), ("long", long(NEAR))] {
                sends(
                    &mut both,
                    outer,
                    &format!("{name} {row:?}"),
                    &payload,
                    Chain::to_opener(Row::of(NEAR)),
                );
            }
            // Be its agent silent or not: the connection is here and nowhere else.
            for payload in [short(THIS), long(THIS)] {
                for (client, vip) in FAMILIES {
                    let frame = datagram(client, vip, &payload).frame();
                    both.passes(&format!("this node's, {row:?}"), &frame, Verdict::DeliveredFirstHop);
                }
            }
        }
    }
    let mut both = Both::with(&quic(Outer::V4, [FAR, 0, 0]));
    both.silence_agent();
    both.passes("silent", &datagram(CLIENT4, VIP4, &short(THIS)).frame(), Verdict::DeliveredFirstHop);
}

#[test]
fn any_other_goes_by_the_row() {
    let other_key = ConnectionId::new(&FlowKey::new([9; KEY_WORDS]), NEAR, NONCE).bytes();
    let mut forged = id(NEAR);
    forged[8] ^= 3;
    let cut = |payload: Vec<u8>, len: usize| payload[..len].to_vec();
    for outer in [Outer::V4, Outer::V6] {
        let mut both = Both::with(&quic(outer, [FAR, 0, 0]));
        let mut walk = Both::with(&quic(outer, [FAR, NEAR, 0]));
        for (name, payload) in [
            ("a client's own", with_long(&[0x1b; 8])),
            ("one of the same length", with_long(&[0x1b; ID_LEN])),
            ("a longer one", with_long(&[id(NEAR).as_slice(), &[0; 4]].concat())),
            ("another rotation", with_short(&[0xff; ID_LEN])),
            ("made with another key", with_short(&other_key)),
            ("forged", with_short(&forged)),
            ("forged, long", with_long(&forged)),
            ("nothing", vec![]),
            ("a byte", vec![0x43]),
            ("a long header cut off", cut(long(NEAR), 5)),
            ("half an ID", cut(short(NEAR), 9)),
            ("an ID but one byte", cut(short(NEAR), ID_LEN)),
            ("an ID but one byte, long", cut(long(NEAR), 5 + ID_LEN)),
        ] {
            sends(&mut both, outer, name, &payload, Chain::to_opener(Row::of(FAR)));
            // It may open a connection, and then must at the opener.
            sends(&mut walk, outer, name, &payload, chain([FAR, NEAR, 0], ToOpener, 1));
        }
        sends(&mut both, outer, "unknown", &short(UNKNOWN), Chain::to_opener(Row::of(FAR)));
        sends(&mut walk, outer, "unknown", &short(UNKNOWN), chain([FAR, NEAR, 0], FromOpener, 0));
    }
}

#[test]
fn what_follows_the_packet_is_no_part_of_it() {
    let mut both = Both::with(&quic(Outer::V4, [FAR, 0, 0]));
    for payload in [short(NEAR), long(NEAR)] {
        let cut = ID_LEN - 4;
        let (whole, part) = (datagram(CLIENT4, VIP4, &payload), datagram(CLIENT4, VIP4, &payload[..cut]));
        // The frame is padded with what would make the ID whole.
        let mut frame = part.frame();
        frame.extend(&whole.frame()[frame.len()..]);
        let sent = both.run("padded", &frame);
        assert_eq!((sent.verdicts[0], sent.action), (Verdict::Sent, Action::Redirect(9)));
    }
}

#[test]
fn only_services_that_speak_quic_look_for_ids() {
    let mut both = Both::with(&wanted_row(Outer::V4, [FAR, 0, 0]));
    sends(&mut both, Outer::V4, "no flag", &short(NEAR), Chain::to_opener(Row::of(FAR)));
    let mut both = Both::with(&quic(Outer::V4, [FAR, 0, 0]));
    for (client, vip) in FAMILIES {
        let inner = Ip::new(client, vip, Transport::tcp(CLIENT_PORT, 443, &short(NEAR))).tos(0xba);
        let sent = both.run("TCP", &inner.frame());
        let wire = Wire::new(Outer::V4, Chain::to_opener(Row::of(FAR)));
        assert_eq!(sent.frame, wire.frame(&inner.forwarded(), tuple(client, vip, 6, CLIENT_PORT, 443)));
        // What the edge sent bears the client's ID, not ours.
        let about = Ip::new(vip, client, Transport::udp(443, CLIENT_PORT, &short(NEAR)));
        let inner = error(client, if vip.is_ipv4() { 3 } else { 1 }, &about, 40).tos(0xba);
        let sent = both.run("an ICMP error", &inner.frame());
        assert_eq!(sent.frame, wire.frame(&inner.forwarded(), tuple(client, vip, 17, CLIENT_PORT, 443)));
    }
}

#[test]
fn a_member_that_cannot_be_reached_keeps_its_connections() {
    let with = |change: &dyn Fn(&mut u16)| {
        let mut wanted = quic(Outer::V4, [FAR, 0, 0]);
        change(&mut wanted.members.get_mut(&NEAR).expect("a member of the fixture").flags);
        Both::with(&wanted)
    };
    // It may only be stalled.
    let mut down = with(&|flags| *flags |= member::DOWN);
    sends(&mut down, Outer::V4, "down", &short(NEAR), Chain::to_opener(Row::of(NEAR)));
    // Another one would reset what it does not know.
    let frame = datagram(CLIENT4, VIP4, &short(NEAR)).frame();
    with(&|flags| *flags &= !member::REACHABLE).drops("no way", &frame, DropReason::NoNextHop);
}

#[test]
fn a_member_that_is_asked_has_what_names_it() {
    for outer in [Outer::V4, Outer::V6] {
        let mut both = Both::with(&quic(outer, [NEAR, 0, 0]));
        for (name, chain, payload, verdict) in [
            ("mine", chain([THIS, NEAR, 0], FromOpener, 0), short(THIS), Verdict::FoundFirst),
            ("mine, long", chain([NEAR, THIS, FAR], FromOpener, 1), long(THIS), Verdict::FoundSecond),
            ("the next one's", chain([THIS, NEAR, 0], FromOpener, 0), short(NEAR), Verdict::PassedOn),
            (
                "no one's, and the last",
                chain([NEAR, THIS, 0], FromOpener, 1),
                short(UNKNOWN),
                Verdict::FoundNowhere,
            ),
            ("it opens", chain([THIS, NEAR, 0], ToOpener, 0), with_long(&[0x1b; 8]), Verdict::Opened),
            (
                "it opens elsewhere",
                chain([NEAR, THIS, 0], ToOpener, 1),
                with_long(&[0x1b; 8]),
                Verdict::PassedOn,
            ),
            ("for this node alone", Chain::to_opener(Row::of(THIS)), short(THIS), Verdict::DeliveredMember),
            ("by the row of another", Chain::to_opener(Row::of(THIS)), short(FAR), Verdict::DeliveredMember),
            ("cut off", chain([THIS, NEAR, 0], FromOpener, 0), short(THIS)[..9].to_vec(), Verdict::PassedOn),
        ] {
            for (client, vip) in FAMILIES {
                let name = format!("{name}, {vip}, {outer:?} outside");
                let packet = walking(outer, client, vip, chain, &payload);
                let taken = both.run(&name, &packet.frame());
                assert_eq!(taken.verdicts, [verdict], "{name}");
                if verdict != Verdict::PassedOn {
                    assert_eq!(taken.frame, packet.inner.frame(), "{name}");
                }
            }
        }
    }
}
