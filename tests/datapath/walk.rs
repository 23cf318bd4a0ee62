//! Rows of several members: who is asked, in which order, and what the socket look-up has to say.

use std::net::IpAddr;

use lb_common::encap::{Chain, Direction};
use lb_common::map::{STAND_IN, member};
use lb_common::row::{MemberId, Row};
use lb_common::verdict::{DropReason, Verdict};
use lb_ebpf::{Action, Socket};
use lb_tests::fixture::{
    self, CLIENT4, CLIENT6, FAR, NEAR, OTHER_INTERFACE, Outer, THIS, VIP4, tuple, wanted_row,
};
use lb_tests::handshake::{Client, Node};
use lb_tests::packet::flags::{ACK, FIN, RST, SYN};
use lb_tests::packet::{Ip, Segment, Transport};

use crate::check::Both;
use crate::wire::{CLIENT_PORT, Encapsulated, Wire};

use Direction::{FromOpener, ToOpener};

pub(crate) const OUTER: Outer = Outer::V4;

pub(crate) fn segment(flags: u8) -> Ip {
    let segment = Segment { flags, sequence: 1, acknowledged: 2 };
    Ip::new(CLIENT4, VIP4, Transport::segment(CLIENT_PORT, 443, segment))
}

pub(crate) fn chain(row: [MemberId; 3], direction: Direction, hop: u8) -> Chain {
    Chain { row: Row::new(row), direction, stand_ins: 0, hop }
}

/// `frame` leaves, encapsulated by this node, towards the chain's hop.
pub(crate) fn leaves(
    both: &mut Both,
    name: &str,
    frame: &[u8],
    verdict: Verdict,
    wire: &Wire<'_>,
    inner: &Ip,
) {
    let sent = both.run(name, frame);
    let to_far = wire.chain.target() == Some(FAR);
    let action = if to_far { Action::Redirect(OTHER_INTERFACE) } else { Action::Transmit };
    assert_eq!((sent.verdicts[0], sent.action), (verdict, action), "{name}");
    // A first hop takes one of its hops.
    let inner = if verdict == Verdict::Sent { inner.forwarded() } else { inner.clone() };
    assert_eq!(sent.frame, wire.frame(&inner, tuple(CLIENT4, VIP4, 6, CLIENT_PORT, 443)), "{name}");
}

#[test]
fn a_first_hop_begins_where_the_packet_must() {
    for (row, flags, direction, hop) in [
        ([NEAR, FAR, 0], ACK, FromOpener, 0),
        ([NEAR, FAR, 0], SYN, ToOpener, 1),
        ([NEAR, FAR, 0], SYN | ACK, FromOpener, 0),
        ([NEAR, FAR, 0], RST, FromOpener, 0),
        ([NEAR, FAR, THIS], ACK, FromOpener, 0),
        ([FAR, THIS, NEAR], SYN, ToOpener, 2),
        // This node is asked first, and has nothing.
        ([THIS, NEAR, FAR], ACK, FromOpener, 1),
        ([NEAR, FAR, THIS], SYN, ToOpener, 1),
        ([FAR, 0, THIS], SYN, ToOpener, 0),
    ] {
        for outer in [Outer::V4, Outer::V6] {
            let mut both = Both::with(&wanted_row(outer, row));
            let inner = segment(flags).tos(0xba);
            let wire = Wire::new(outer, chain(row, direction, hop));
            leaves(&mut both, &format!("{row:?} {flags:#x}"), &inner.frame(), Verdict::Sent, &wire, &inner);
        }
    }
}

#[test]
fn the_last_one_asked_delivers() {
    for (row, flags, verdict) in
        [([THIS, 0, 0], ACK, Verdict::DeliveredFirstHop), ([THIS, 0, 0], SYN, Verdict::DeliveredFirstHop)]
    {
        let mut both = Both::with(&wanted_row(OUTER, row));
        both.passes(&format!("{row:?} {flags:#x}"), &segment(flags).frame(), verdict);
    }
    let mut both = Both::with(&wanted_row(OUTER, [NEAR, FAR, THIS]));
    for (row, direction, hop, flags, verdict) in [
        ([NEAR, THIS, 0], FromOpener, 1, ACK, Verdict::FoundNowhere),
        ([FAR, NEAR, THIS], FromOpener, 2, ACK, Verdict::FoundNowhere),
        ([FAR, THIS, 0], FromOpener, 1, RST, Verdict::FoundNowhere),
        ([THIS, NEAR, 0], ToOpener, 0, SYN, Verdict::Opened),
        ([THIS, NEAR, FAR], ToOpener, 0, SYN, Verdict::Opened),
    ] {
        let inner = segment(flags);
        let packet =
            Encapsulated { chain: chain(row, direction, hop), inner: inner.clone(), ..Encapsulated::v4() };
        let name = format!("{row:?} {direction:?} {hop}");
        let taken = both.run(&name, &packet.frame());
        assert_eq!((taken.verdicts[0], taken.action), (verdict, Action::Pass), "{name}");
        assert_eq!(taken.frame, inner.frame(), "{name}");
    }
}

#[test]
fn a_member_passes_on_what_is_not_its_own() {
    for outer in [Outer::V4, Outer::V6] {
        let mut both = Both::fixture(outer);
        for (row, direction, hop, next) in [
            ([THIS, NEAR, 0], FromOpener, 0, 1),
            ([THIS, NEAR, FAR], FromOpener, 0, 1),
            ([NEAR, THIS, FAR], FromOpener, 1, 2),
            ([THIS, 0, FAR], FromOpener, 0, 2),
            ([NEAR, THIS, 0], ToOpener, 1, 0),
            ([NEAR, FAR, THIS], ToOpener, 2, 1),
            ([FAR, THIS, NEAR], ToOpener, 1, 0),
        ] {
            for tags in [&[][..], &[(0x8100, 5)], &[(0x88a8, 5), (0x8100, 6)]] {
                let packet = Encapsulated {
                    chain: chain(row, direction, hop),
                    outer_tos: 0xbb,
                    ..Encapsulated::new(outer, CLIENT4, VIP4)
                };
                // Congestion met so far stays outside until the way ends.
                let wire = Wire { tags, tos: 0xbb, ..Wire::new(outer, chain(row, direction, next)) };
                let name = format!("{outer:?} {row:?} {direction:?} {hop}, {} tags", tags.len());
                let frame = packet.datagram().tagged(tags);
                leaves(&mut both, &name, &frame, Verdict::PassedOn, &wire, &packet.inner);
            }
        }
    }
}

#[test]
fn what_one_member_passes_on_the_next_one_takes() {
    let passed = Both::fixture(OUTER).run(
        "member",
        &Encapsulated { chain: chain([THIS, NEAR, 0], FromOpener, 0), ..Encapsulated::v4() }.frame(),
    );
    let mut wanted = fixture::wanted(OUTER);
    wanted.config.member = NEAR;
    wanted.config.local_v4 = wanted.members[&NEAR].address[0] as u32;
    let taken = Both::with(&wanted).run("the next one", &passed.frame);
    assert_eq!(taken.verdicts, [Verdict::FoundNowhere]);
    assert_eq!(taken.frame[14..], Encapsulated::v4().inner.bytes());
}

#[test]
fn udp_opens_at_the_opener() {
    let inner = Ip::new(CLIENT4, VIP4, Transport::udp(CLIENT_PORT, 443, b"q"));
    let mut both = Both::with(&wanted_row(OUTER, [THIS, NEAR, 0]));
    let sent = both.run("first hop", &inner.frame());
    assert_eq!((sent.verdicts[0], sent.action), (Verdict::Sent, Action::Transmit));
    let hash = lb_common::hash::flow_hash(
        &fixture::local().keys.in_force,
        &tuple(CLIENT4, VIP4, 17, CLIENT_PORT, 443),
    );
    let packet =
        Encapsulated { chain: chain([THIS, NEAR, 0], ToOpener, 0), inner, hash, ..Encapsulated::v4() };
    assert_eq!(both.run("opener", &packet.frame()).verdicts, [Verdict::Opened]);
}

#[test]
fn who_cannot_be_reached_is_left_out() {
    const UNKNOWN: MemberId = 77;
    for (row, direction, flags, hop) in [
        ([UNKNOWN, NEAR, 0], FromOpener, ACK, 1),
        ([FAR, NEAR, 0], FromOpener, ACK, 1),
        ([THIS, FAR, NEAR], FromOpener, ACK, 2),
        ([NEAR, FAR, UNKNOWN], ToOpener, SYN, 0),
    ] {
        let mut wanted = wanted_row(OUTER, row);
        wanted.members.get_mut(&FAR).expect("a member of the fixture").flags &= !member::REACHABLE;
        let inner = segment(flags).tos(0xba);
        let wire = Wire::new(OUTER, chain(row, direction, hop));
        let mut both = Both::with(&wanted);
        leaves(&mut both, &format!("{row:?}"), &inner.frame(), Verdict::Sent, &wire, &inner);
    }
}

#[test]
fn nothing_opens_by_way_of_who_is_down() {
    let with = |row| {
        let mut wanted = wanted_row(OUTER, row);
        wanted.members.get_mut(&FAR).expect("a member of the fixture").flags |= member::DOWN;
        Both::with(&wanted)
    };
    for (row, direction, flags, hop) in [
        ([NEAR, FAR, 0], ToOpener, SYN, 0),
        ([NEAR, THIS, FAR], ToOpener, SYN, 0),
        // It may have the flows that it had.
        ([THIS, FAR, 0], FromOpener, ACK, 1),
    ] {
        let inner = segment(flags).tos(0xba);
        let wire = Wire::new(OUTER, chain(row, direction, hop));
        leaves(&mut with(row), &format!("{row:?}"), &inner.frame(), Verdict::Sent, &wire, &inner);
    }
    with([THIS, FAR, 0]).passes("the opener", &segment(SYN).frame(), Verdict::Opened);
}

#[test]
fn without_its_agent_a_node_is_a_first_hop_for_the_others() {
    let mut wanted = wanted_row(OUTER, [THIS, 0, 0]);
    let stand_in = wanted_row(OUTER, [NEAR, THIS, 0]).tables[&0].clone();
    wanted.tables.insert(STAND_IN, stand_in);
    let mut both = Both::with(&wanted);
    both.passes("alive", &segment(SYN).frame(), Verdict::DeliveredFirstHop);
    both.silence_agent();
    for (flags, direction) in [(SYN, ToOpener), (ACK, FromOpener)] {
        let inner = segment(flags).tos(0xba);
        let wire = Wire::new(OUTER, chain([NEAR, THIS, 0], direction, 0));
        leaves(&mut both, "silent", &inner.frame(), Verdict::Sent, &wire, &inner);
    }
    // What others own has nothing to do with it.
    let mut both = Both::with(&wanted_row(OUTER, [FAR, 0, 0]));
    both.silence_agent();
    let inner = segment(SYN).tos(0xba);
    let wire = Wire::new(OUTER, Chain::to_opener(Row::of(FAR)));
    leaves(&mut both, "another's", &inner.frame(), Verdict::Sent, &wire, &inner);
}

/// First hops whose agents are silent, too, do not know that it is.
#[test]
fn an_opener_without_its_agent_hands_on_what_it_does_not_have() {
    let mut wanted = wanted_row(OUTER, [THIS, 0, 0]);
    wanted.tables.insert(STAND_IN, wanted_row(OUTER, [NEAR, THIS, 0]).tables[&0].clone());
    let come = |row, direction, hop, stand_ins, flags| Encapsulated {
        chain: Chain { stand_ins, ..chain(row, direction, hop) },
        inner: segment(flags),
        ..Encapsulated::v4()
    };
    let mut both = Both::with(&wanted);
    let alive = both.run("alive", &come([THIS, 0, 0], FromOpener, 0, 0, SYN).frame());
    assert_eq!((alive.verdicts[0], alive.action), (Verdict::DeliveredMember, Action::Pass));
    both.silence_agent();
    for (row, direction, stand_ins, flags, handed) in [
        ([THIS, 0, 0], FromOpener, 0, SYN, [NEAR, 0, 0]),
        // What opened there is found there.
        ([THIS, 0, 0], FromOpener, 0, ACK, [NEAR, 0, 0]),
        ([THIS, 0, 0], FromOpener, 2, ACK, [NEAR, 0, 0]),
        ([THIS, FAR, 0], FromOpener, 0, ACK, [NEAR, FAR, 0]),
        ([THIS, FAR, 0], ToOpener, 1, SYN, [NEAR, FAR, 0]),
        ([THIS, NEAR, FAR], FromOpener, 0, ACK, [NEAR, 0, FAR]),
        ([THIS, NEAR, FAR], ToOpener, 0, SYN, [NEAR, 0, FAR]),
    ] {
        let packet = Encapsulated { outer_tos: 0xba, ..come(row, direction, 0, stand_ins, flags) };
        let next = Chain { stand_ins: stand_ins + 1, ..chain(handed, direction, 0) };
        let name = format!("{row:?} {direction:?} {flags:#x}");
        let wire = Wire::new(OUTER, next);
        leaves(&mut both, &name, &packet.frame(), Verdict::PassedOn, &wire, &packet.inner);
    }
    for (name, packet, verdict) in [
        ("not for ever", come([THIS, 0, 0], FromOpener, 0, 3, ACK), Verdict::FoundNowhere),
        ("it opens nothing here", come([FAR, THIS, 0], FromOpener, 1, 0, ACK), Verdict::FoundNowhere),
    ] {
        let taken = both.run(name, &packet.frame());
        assert_eq!((taken.verdicts[0], taken.action), (verdict, Action::Pass), "{name}");
    }
    // Nobody else is left.
    wanted.tables.insert(STAND_IN, wanted_row(OUTER, [THIS, 0, 0]).tables[&0].clone());
    let mut both = Both::with(&wanted);
    both.silence_agent();
    let taken = both.run("nobody", &come([THIS, 0, 0], FromOpener, 0, 0, SYN).frame());
    assert_eq!((taken.verdicts[0], taken.action), (Verdict::FoundNowhere, Action::Pass));
}

#[test]
fn nobody_left_to_ask_is_no_reason_to_refuse_a_connection() {
    const UNKNOWN: MemberId = 77;
    let with = |row| {
        let mut wanted = wanted_row(OUTER, row);
        wanted.members.get_mut(&FAR).expect("a member of the fixture").flags &= !member::REACHABLE;
        Both::with(&wanted)
    };
    with([THIS, FAR, 0]).drops("the rest", &segment(ACK).frame(), DropReason::NoNextHop);
    with([THIS, UNKNOWN, 0]).drops("the rest", &segment(ACK).frame(), DropReason::UnknownMember);
    with([FAR, UNKNOWN, 0]).drops("all", &segment(SYN).frame(), DropReason::NoNextHop);
    // But a new one opens where it can.
    with([FAR, THIS, 0]).passes("the opener", &segment(SYN).frame(), Verdict::Opened);
    let mut both = Both::fixture(OUTER);
    let of = |row, direction, hop, flags| {
        Encapsulated { chain: chain(row, direction, hop), inner: segment(flags), ..Encapsulated::v4() }
            .frame()
    };
    both.drops("chain", &of([THIS, UNKNOWN, 0], FromOpener, 0, ACK), DropReason::UnknownChain);
    let opened = both.run("an opener that nobody knows", &of([UNKNOWN, THIS, 0], ToOpener, 1, SYN));
    assert_eq!(opened.verdicts, [Verdict::Opened]);
}

#[test]
fn what_does_not_fit_the_way_on_is_dropped_by_name() {
    let mut wanted = fixture::wanted(OUTER);
    wanted.members.get_mut(&FAR).expect("a member of the fixture").mtu = 100;
    wanted.members.get_mut(&NEAR).expect("a member of the fixture").flags |= member::V6;
    let mut both = Both::with(&wanted);
    let to = |row| Encapsulated { chain: chain(row, FromOpener, 0), ..Encapsulated::v4() };
    let long = |row| {
        let inner = Ip::new(CLIENT4, VIP4, Transport::tcp(CLIENT_PORT, 443, &[7; 100]));
        Encapsulated { inner, ..to(row) }.frame()
    };
    both.drops("too long", &long([THIS, FAR, 0]), DropReason::TooBig);
    both.drops("of the other family", &to([THIS, NEAR, 0]).frame(), DropReason::NoNextHop);
    let options = to([THIS, FAR, 0]).datagram().options(&[1; 4]).frame();
    both.drops("options outside", &options, DropReason::MalformedEncap);
}

/// A case of the socket look-up: a row, a packet, and what becomes of it.
fn asks(both: &mut Both, name: &str, client: &Client, packet: &Ip, socket: Socket, verdict: Verdict) {
    both.host_has(client.tuple(), socket);
    let outcome = both.run(name, &packet.frame());
    assert_eq!(outcome.verdicts, [verdict], "{name}");
    let action = if verdict == Verdict::Sent { Action::Transmit } else { Action::Pass };
    assert_eq!(outcome.action, action, "{name}");
}

/// `work` on a node with sockets, for clients of both families.
pub(crate) fn on_a_node(work: impl Fn(&Node, IpAddr) + Send + Sync) {
    let node = Node::new();
    node.namespace.run(|| [CLIENT4, CLIENT6].into_iter().for_each(|client| work(&node, client)));
}

#[test]
fn a_connection_is_found_wherever_its_row_names_this_node() {
    on_a_node(|node, client| {
        let (client, _stream) = node.open(client, 40_001);
        let (ack, syn) = (client.ack(), client.syn());
        for (row, packet, verdict) in [
            ([THIS, NEAR, FAR], &ack, Verdict::FoundFirst),
            ([THIS, NEAR, 0], &client.segment(RST, 1, 1), Verdict::FoundFirst),
            ([NEAR, THIS, 0], &ack, Verdict::Sent),
            ([NEAR, THIS, 0], &syn, Verdict::FoundSecond),
            ([NEAR, FAR, THIS], &syn, Verdict::FoundThird),
        ] {
            let mut both = Both::with(&wanted_row(OUTER, row));
            asks(&mut both, &format!("{row:?}"), &client, packet, Socket::Connection, verdict);
        }
    });
}

#[test]
fn a_handshake_counts_as_a_connection() {
    on_a_node(|node, client| {
        let client = node.half_open(client, 40_002);
        let mut both = Both::with(&wanted_row(OUTER, [THIS, NEAR, 0]));
        asks(&mut both, "its end", &client, &client.ack(), Socket::Connection, Verdict::FoundFirst);
        let mut both = Both::with(&wanted_row(OUTER, [NEAR, THIS, 0]));
        asks(&mut both, "repeated", &client, &client.syn(), Socket::Connection, Verdict::FoundSecond);
    });
}

/// A SYN that was repeated while its first member was stalled has two answers, of which the client takes one.
#[test]
fn a_handshake_is_asked_for_by_the_number_that_it_answered() {
    on_a_node(|node, client| {
        let client = node.half_open(client, 40_008);
        for (name, packet, socket, verdict) in [
            ("its end", client.ack(), Socket::Connection, Verdict::FoundFirst),
            ("its end, refused", client.segment(RST | ACK, 1, 1), Socket::Connection, Verdict::FoundFirst),
            ("its end, with no number", client.segment(RST, 1, 0), Socket::Connection, Verdict::FoundFirst),
            ("another one's end", client.segment(ACK, 1, 7), Socket::OtherConnection, Verdict::Sent),
            ("what it answered", client.segment(ACK, 1, 0), Socket::OtherConnection, Verdict::Sent),
            (
                "another one's refusal",
                client.segment(RST | ACK, 1, 7),
                Socket::OtherConnection,
                Verdict::Sent,
            ),
        ] {
            let mut both = Both::with(&wanted_row(OUTER, [THIS, NEAR, 0]));
            asks(&mut both, name, &client, &packet, socket, verdict);
        }
    });
}

/// The same ports may be a later connection's, with another member.
#[test]
fn what_is_left_of_a_connection_answers_who_acknowledges_its_end() {
    on_a_node(|node, client| {
        let client = node.closed(client, 40_003);
        for (name, packet, socket, verdict) in [
            ("its last ACK", client.segment(ACK, 2, 2), Socket::TimeWait, Verdict::FoundFirst),
            ("its FIN, repeated", client.segment(FIN | ACK, 1, 2), Socket::TimeWait, Verdict::FoundFirst),
            ("its refusal", client.segment(RST | ACK, 2, 2), Socket::TimeWait, Verdict::FoundFirst),
            ("a duplicate", client.ack(), Socket::OtherConnection, Verdict::Sent),
            (
                "a later one's data",
                client.segment(ACK, 70_000, 5_000),
                Socket::OtherConnection,
                Verdict::Sent,
            ),
            ("its end", client.segment(FIN | ACK, 70_000, 5_000), Socket::OtherConnection, Verdict::Sent),
            ("what acknowledges nothing", client.segment(RST, 2, 2), Socket::OtherConnection, Verdict::Sent),
        ] {
            let mut both = Both::with(&wanted_row(OUTER, [THIS, NEAR, 0]));
            asks(&mut both, name, &client, &packet, socket, verdict);
            // Where nobody is left to ask, the kernel has its say.
            let mut both = Both::with(&wanted_row(OUTER, [THIS, 0, 0]));
            asks(&mut both, name, &client, &packet, socket, Verdict::DeliveredFirstHop);
        }
        let mut both = Both::with(&wanted_row(OUTER, [NEAR, THIS, 0]));
        asks(&mut both, "the next SYN", &client, &client.syn(), Socket::OtherConnection, Verdict::Sent);
    });
}

#[test]
fn a_listener_answers_for_the_cookies_it_gave() {
    let node = Node::new();
    node.keep_no_handshakes();
    node.namespace.run(|| {
        let mut both = Both::with(&wanted_row(OUTER, [THIS, NEAR, 0]));
        for client in [CLIENT4, CLIENT6] {
            let client = node.half_open(client, 40_004);
            asks(&mut both, "its cookie", &client, &client.ack(), Socket::Cookie, Verdict::FoundFirst);
            for (name, packet) in
                [("another number", client.segment(ACK, 1, 7)), ("a RST", client.segment(RST | ACK, 1, 1))]
            {
                asks(&mut both, name, &client, &packet, Socket::Listener, Verdict::Sent);
            }
        }
        let mut both = Both::with(&wanted_row(OUTER, [NEAR, THIS, 0]));
        let client = node.half_open(CLIENT4, 40_005);
        asks(&mut both, "the SYN again", &client, &client.syn(), Socket::Listener, Verdict::Sent);
    });
}

#[test]
fn a_listener_that_gave_no_cookie_answers_for_nothing() {
    on_a_node(|node, client| {
        // The number would be right for a cookie, were there any: it is of another client's handshake.
        let client = node.half_open(client, 40_006).on_port(40_007);
        let mut both = Both::with(&wanted_row(OUTER, [THIS, NEAR, 0]));
        asks(&mut both, "an ACK", &client, &client.ack(), Socket::Listener, Verdict::Sent);
    });
}
