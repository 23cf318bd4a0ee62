//! Two flow keys at once: a flow is found by whichever it opened, from any first hop, at any step of the keys' roll-over;
//! and what is tagged by either is taken, no longer than there are two.

use std::net::IpAddr;

use lb_agent::l4::keys::Keys;
use lb_agent::l4::wanted::Wanted;
use lb_common::encap::{Chain, Direction};
use lb_common::hash::{FlowKey, KEY_WORDS, Tuple, flow_hash};
use lb_common::map::{STAND_IN, config, member};
use lb_common::probe::Message;
use lb_common::quic::ConnectionId;
use lb_common::row::{MemberId, Row, bucket};
use lb_common::verdict::{DropReason, Verdict};
use lb_ebpf::{Action, Socket};
use lb_tests::fixture::{
    self, CLIENT4, CLIENT6, FAR, NEAR, OTHER_INTERFACE, Outer, THIS, VIP4, VIP6, by_keys, roll_over, tuple,
    wanted_row,
};
use lb_tests::handshake::Node;
use lb_tests::kernel::Kernel;
use lb_tests::packet::flags::{ACK, SYN};
use lb_tests::packet::{Ip, Segment, Transport};

use crate::check::Both;
use crate::fragments::{identity, parts};
use crate::icmp::{SITES, error, reply};
use crate::replay::{MEMBERS, receiver, view};
use crate::wire::{CLIENT_PORT, Encapsulated, Wire};
use crate::{probe, quic};

use Direction::{FromOpener, ToOpener};

const FAMILIES: [(IpAddr, IpAddr); 2] = [(CLIENT4, VIP4), (CLIENT6, VIP6)];

const TCP: u8 = 6;

fn opener(wanted: &Wanted, key: &FlowKey, flow: &Tuple) -> MemberId {
    Row::from_bits(wanted.tables[&0].rows[bucket(flow_hash(key, flow)) as usize]).opener()
}

/// A client's port whose flow opens there by the fixture's key and by the next one.
fn port_opened_by(wanted: &Wanted, client: IpAddr, vip: IpAddr, [former, next]: [MemberId; 2]) -> u16 {
    let [by_former, .., by_next] = roll_over();
    let opens = |port: &u16| {
        let flow = tuple(client, vip, TCP, *port, 443);
        opener(wanted, &by_former.in_force, &flow) == former
            && opener(wanted, &by_next.in_force, &flow) == next
    };
    (40_000..).find(opens).expect("each pair of members has some of 25,000 flows")
}

/// What each member's maps hold at each step.
struct Edge {
    outer: Outer,
    views: Vec<(MemberId, Vec<Wanted>)>,
    both: Both,
}

impl Edge {
    fn new(outer: Outer) -> Self {
        let steps = |id| roll_over().map(|keys| by_keys(view(outer, id), keys)).into();
        Self { outer, views: MEMBERS.map(|id| (id, steps(id))).into(), both: Both::fixture(outer) }
    }

    fn view(&self, id: MemberId, step: usize) -> &Wanted {
        let (_, steps) = self.views.iter().find(|(member, _)| *member == id).expect("a member");
        &steps[step]
    }

    /// Gives a packet to a first hop, and then to each to which it is sent on, where all others are at another step: who
    /// got it, and the last one's verdict. The owner, if there is one, has its connection.
    fn follow(
        &mut self,
        name: &str,
        (first, at_first, at_others): (MemberId, usize, usize),
        frame: Vec<u8>,
        owner: Option<(MemberId, &Node, Tuple)>,
    ) -> (Vec<MemberId>, Verdict) {
        let (mut way, mut frame) = (vec![first], frame);
        loop {
            let at = way[way.len() - 1];
            let step = if at == first { at_first } else { at_others };
            let wanted = self.view(at, step).clone();
            self.both.set(&wanted);
            let outcome = match owner {
                Some((id, node, flow)) if id == at => {
                    self.both.host_has(flow, Socket::Connection);
                    node.namespace.run(|| self.both.run(name, &frame))
                }
                _ => self.both.run(name, &frame),
            };
            if outcome.action != Action::Transmit {
                return (way, outcome.verdicts[0]);
            }
            way.push(receiver(self.outer, &outcome.frame));
            assert!(way.len() <= 4, "{name}: {way:?}");
            frame = outcome.frame;
        }
    }
}

/// Steps that a first hop and the other nodes can be at at once: nobody switches before all have learned, and no key is
/// forgotten before all have switched.
fn steps() -> impl Iterator<Item = (usize, usize)> {
    (0..4)
        .flat_map(|one: usize| (0..4).map(move |other| (one, other)))
        .filter(|(one, other)| one.abs_diff(*other) <= 1)
}

#[test]
fn a_flow_is_found_from_any_first_hop_at_any_step() {
    let node = Node::new();
    let is_found = |verdict| {
        use Verdict::{DeliveredFirstHop, DeliveredMember, FoundFirst, FoundSecond, FoundThird};
        matches!(verdict, DeliveredFirstHop | DeliveredMember | FoundFirst | FoundSecond | FoundThird)
    };
    let table = fixture::wanted(Outer::V4);
    let opened = |(client, vip)| {
        let node = &node;
        [[NEAR, FAR], [NEAR, NEAR]]
            .map(|openers| (openers, node.open(client, port_opened_by(&table, client, vip, openers))))
    };
    let flows: Vec<_> = FAMILIES.into_iter().flat_map(opened).collect();
    for outer in [Outer::V4, Outer::V6] {
        let mut edge = Edge::new(outer);
        for ([former, next], (client, _stream)) in &flows {
            for (at_first, at_others) in steps() {
                // It can have opened by the keys that the first hop knows.
                let owners = [(former, at_first < 3), (next, at_first > 0)];
                for (&owner, _) in owners.into_iter().filter(|(_, is_known)| *is_known) {
                    let has = Some((owner, &node, client.tuple()));
                    for (first, packet) in
                        MEMBERS.into_iter().flat_map(|first| [(first, client.ack()), (first, client.syn())])
                    {
                        let name = format!("{outer:?} {at_first} and {at_others}: {owner}'s by {first}");
                        let at = (first, at_first, at_others);
                        let (way, last) = edge.follow(&name, at, packet.frame(), has);
                        let found = (way.last(), is_found(last));
                        assert_eq!(found, (Some(&owner), true), "{name}: {way:?} {last:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_flow_opens_by_the_key_in_force_when_nobody_has_it_by_the_other() {
    for outer in [Outer::V4, Outer::V6] {
        let mut edge = Edge::new(outer);
        for (client, vip) in FAMILIES {
            for openers in [[NEAR, FAR], [FAR, NEAR], [THIS, NEAR], [NEAR, NEAR]] {
                let port = port_opened_by(edge.view(THIS, 0), client, vip, openers);
                let syn = Segment { flags: SYN, sequence: 1, acknowledged: 0 };
                let frame = Ip::new(client, vip, Transport::segment(port, 443, syn)).frame();
                for (at_first, at_others) in steps() {
                    for first in MEMBERS {
                        let name =
                            format!("{outer:?} {vip} {openers:?}: {at_first} and {at_others} by {first}");
                        let (way, last) =
                            edge.follow(&name, (first, at_first, at_others), frame.clone(), None);
                        let [opener, passed] = if at_first < 2 { openers } else { [openers[1], openers[0]] };
                        // Where it comes in at the opener, the other one is asked first, which sends it back.
                        let mut asked = match at_first {
                            1 | 2 => vec![first, passed, opener],
                            _ => vec![first, opener],
                        };
                        asked.dedup();
                        assert_eq!(way, asked, "{name}");
                        let is_opened = matches!(
                            last,
                            Verdict::Opened | Verdict::DeliveredFirstHop | Verdict::DeliveredMember
                        );
                        assert!(is_opened, "{name}: {last:?}");
                    }
                }
            }
        }
    }
}

fn chain(row: [MemberId; 3], direction: Direction, hop: u8) -> Chain {
    Chain { row: Row::new(row), direction, stand_ins: 0, hop }
}

/// What a first hop sends by a key: a packet of the flow `flow` with a row.
fn sends(both: &mut Both, name: &str, inner: &Ip, wire: &Wire<'_>, flow: Tuple) {
    let sent = both.run(name, &inner.frame());
    let action =
        if wire.chain.target() == Some(FAR) { Action::Redirect(OTHER_INTERFACE) } else { Action::Transmit };
    assert_eq!((sent.verdicts[0], sent.action), (Verdict::Sent, action), "{name}");
    assert_eq!(sent.frame, wire.frame(&inner.forwarded(), flow), "{name}");
}

#[test]
fn a_first_hop_asks_by_both_keys_and_tags_by_the_one_in_force() {
    let [one, learned, switched, other] = roll_over();
    for outer in [Outer::V4, Outer::V6] {
        let wanted = fixture::wanted(outer);
        let mut both = Both::with(&wanted);
        for (client, vip, router, kinds) in SITES {
            for (openers, keys, expected) in [
                ([NEAR, FAR], one, [NEAR, 0, 0]),
                ([NEAR, FAR], learned, [NEAR, FAR, 0]),
                ([NEAR, FAR], switched, [FAR, NEAR, 0]),
                ([NEAR, FAR], other, [FAR, 0, 0]),
                ([NEAR, NEAR], learned, [NEAR, 0, 0]),
                ([NEAR, NEAR], switched, [NEAR, 0, 0]),
            ] {
                both.set(&by_keys(wanted.clone(), keys));
                let port = port_opened_by(&wanted, client, vip, openers);
                let flow = tuple(client, vip, TCP, port, 443);
                let wire = Wire { key: keys.in_force, ..Wire::new(outer, chain(expected, FromOpener, 0)) };
                let name = format!("{outer:?} {vip} {openers:?} {expected:?}");
                let ack = Segment { flags: ACK, sequence: 1, acknowledged: 2 };
                let segment = Ip::new(client, vip, Transport::segment(port, 443, ack)).tos(0xba);
                sends(&mut both, &name, &segment, &wire, flow);
                let about = error(router, kinds[0], &reply(client, vip, port), 8).tos(0xba);
                sends(&mut both, &format!("{name}, an error"), &about, &wire, flow);
            }
        }
    }
}

#[test]
fn a_collector_sends_parts_with_the_flow_of_either_key() {
    let [_, learned, switched, _] = roll_over();
    let wanted = fixture::wanted(Outer::V4);
    for (client, vip) in FAMILIES {
        for (keys, openers, row) in
            [(learned, [NEAR, FAR], [NEAR, FAR, 0]), (switched, [NEAR, FAR], [FAR, NEAR, 0])]
        {
            let mut both = Both::with(&by_keys(wanted.clone(), keys));
            let port = port_opened_by(&wanted, client, vip, openers);
            let whole = Ip::new(client, vip, Transport::tcp(port, 443, &[7; 140])).tos(0xba);
            for (id, other) in (0..)
                .map(|id| (id, identity(client, vip, id, TCP)))
                .filter(|(_, identity)| opener(&wanted, &keys.in_force, identity) == THIS)
                .take(1)
            {
                let wire = Wire {
                    key: keys.in_force,
                    is_collected: true,
                    ..Wire::new(Outer::V4, chain(row, FromOpener, 0))
                };
                for part in whole.parts(id, 64) {
                    sends(&mut both, &format!("{vip} {row:?}"), &part, &wire, other);
                }
            }
        }
    }
}

/// Everything that another member can send, tagged by a key.
fn tagged(outer: Outer, key: FlowKey) -> Vec<(&'static str, Vec<u8>, Verdict)> {
    let mut all = Vec::new();
    for (client, vip, router, kinds) in SITES {
        let hash = flow_hash(&key, &tuple(client, vip, TCP, CLIENT_PORT, 443));
        let of_flow = Encapsulated { key, hash, ..Encapsulated::new(outer, client, vip) };
        all.push(("a segment", of_flow.frame(), Verdict::DeliveredMember));
        let about = error(router, kinds[0], &reply(client, vip, CLIENT_PORT), 8);
        all.push((
            "an ICMP error",
            Encapsulated { inner: about, ..of_flow }.frame(),
            Verdict::DeliveredMember,
        ));
        let (parts, identity) = parts(client, vip);
        let part = Encapsulated {
            key,
            hash: flow_hash(&key, &identity),
            inner: parts[1].clone(),
            is_collected: true,
            ..Encapsulated::new(outer, client, vip)
        };
        all.push(("a fragment", part.frame(), Verdict::DeliveredMember));
    }
    let message = Message::new(&probe::GOOD, &key).bytes();
    all.push(("a probe", probe::datagram(outer, &message).frame(), Verdict::Probe));
    all
}

#[test]
fn what_is_tagged_by_either_key_is_taken_while_there_are_two() {
    let [one, .., other] = roll_over();
    let wrong = Keys::only(FlowKey::new([9; KEY_WORDS]));
    for outer in [Outer::V4, Outer::V6] {
        let mut both = Both::fixture(outer);
        for (step, keys) in roll_over().into_iter().enumerate() {
            both.set(&by_keys(fixture::wanted(outer), keys));
            for (sender, Keys { in_force: key, .. }) in [("former", one), ("next", other), ("wrong", wrong)] {
                for (what, frame, verdict) in tagged(outer, key) {
                    let is_right = keys.all().any(|known| *known == key);
                    let expected = if is_right { verdict } else { DropReason::BadTag.into() };
                    let name = format!("{outer:?} step {step}: {what} by the {sender} key");
                    assert_eq!(both.run(&name, &frame).verdicts, [expected], "{name}");
                }
            }
        }
    }
}

#[test]
fn what_is_passed_on_is_tagged_by_the_key_in_force() {
    let [one, learned, switched, other] = roll_over();
    for outer in [Outer::V4, Outer::V6] {
        let mut both = Both::fixture(outer);
        for (client, vip) in FAMILIES {
            let flow = tuple(client, vip, TCP, CLIENT_PORT, 443);
            for (sender, keys) in [(one, learned), (other, learned), (one, switched), (other, switched)] {
                both.set(&by_keys(fixture::wanted(outer), keys));
                let key = sender.in_force;
                let packet = Encapsulated {
                    key,
                    hash: flow_hash(&key, &flow),
                    chain: chain([THIS, NEAR, FAR], FromOpener, 0),
                    outer_tos: 0xba,
                    ..Encapsulated::new(outer, client, vip)
                };
                let sent = both.run("on", &packet.frame());
                assert_eq!(sent.verdicts, [Verdict::PassedOn]);
                let wire =
                    Wire { key: keys.in_force, ..Wire::new(outer, chain([THIS, NEAR, FAR], FromOpener, 1)) };
                assert_eq!(sent.frame, wire.frame(&packet.inner, flow));
            }
        }
    }
}

#[test]
fn a_connection_id_made_by_either_key_leads_to_its_member() {
    let wanted = fixture::with_quic(wanted_row(Outer::V4, [FAR, 0, 0]));
    let mut both = Both::with(&wanted);
    for keys in roll_over() {
        both.set(&by_keys(wanted.clone(), keys));
        for key in roll_over().map(|keys| keys.in_force) {
            let id = ConnectionId::new(&key, NEAR, quic::NONCE).bytes();
            let to = if keys.all().any(|known| *known == key) { NEAR } else { FAR };
            for (client, vip) in FAMILIES {
                let inner = quic::datagram(client, vip, &quic::with_short(&id));
                let wire = Wire { key: keys.in_force, ..Wire::new(Outer::V4, Chain::to_opener(Row::of(to))) };
                let flow = tuple(client, vip, 17, CLIENT_PORT, 443);
                sends(&mut both, &format!("{vip} to {to}"), &inner, &wire, flow);
            }
        }
    }
}

/// The first packet and any other of a connection.
fn segment(flags: u8) -> Ip {
    let segment = Segment { flags, sequence: 1, acknowledged: 2 };
    Ip::new(CLIENT4, VIP4, Transport::segment(CLIENT_PORT, 443, segment)).tos(0xba)
}

#[test]
fn who_is_down_is_asked_last_by_two_keys_too() {
    let [_, learned, ..] = roll_over();
    let mut wanted = by_keys(wanted_row(Outer::V4, [NEAR, FAR, THIS]), learned);
    wanted.members.get_mut(&FAR).expect("a member of the fixture").flags |= member::DOWN;
    let mut both = Both::with(&wanted);
    for (flags, direction, hop) in [(ACK, FromOpener, 0), (SYN, ToOpener, 0)] {
        let wire = Wire::new(Outer::V4, chain([NEAR, THIS, FAR], direction, hop));
        let flow = tuple(CLIENT4, VIP4, TCP, CLIENT_PORT, 443);
        sends(&mut both, "down", &segment(flags), &wire, flow);
    }
}

#[test]
fn without_its_agent_a_node_opens_nothing_by_either_key() {
    let [_, learned, ..] = roll_over();
    let mut wanted = by_keys(wanted_row(Outer::V4, [THIS, 0, 0]), learned);
    wanted.tables.insert(STAND_IN, wanted_row(Outer::V4, [NEAR, THIS, 0]).tables[&0].clone());
    let mut both = Both::with(&wanted);
    both.passes("alive", &segment(SYN).frame(), Verdict::DeliveredFirstHop);
    both.silence_agent();
    for (flags, direction) in [(SYN, ToOpener), (ACK, FromOpener)] {
        let wire = Wire::new(Outer::V4, chain([NEAR, THIS, 0], direction, 0));
        sends(&mut both, "silent", &segment(flags), &wire, tuple(CLIENT4, VIP4, TCP, CLIENT_PORT, 443));
    }
}

#[test]
fn by_two_keys_a_packet_is_counted_once_and_not_before_all_is_ready() {
    let [_, learned, ..] = roll_over();
    let mut wanted = by_keys(wanted_row(Outer::V4, [NEAR, 0, 0]), learned);
    let mut kernel = Kernel::with(&wanted).expect("the program loads");
    for _ in 0..3 {
        assert_eq!(kernel.run(&segment(ACK).frame()).expect("runs").verdicts, [Verdict::Sent]);
    }
    assert_eq!(kernel.traffic_of(VIP4, 443).expect("the service is there").packets, 3);
    wanted.config.flags &= !config::READY;
    Both::with(&wanted).drops("not ready", &segment(ACK).frame(), DropReason::NotConfigured);
}

#[test]
fn what_is_too_big_by_two_keys_is_told() {
    let [_, learned, ..] = roll_over();
    let mut both = Both::with(&by_keys(wanted_row(Outer::V4, [NEAR, 0, 0]), learned));
    for (client, vip) in FAMILIES {
        let long =
            Ip::new(client, vip, Transport::tcp(CLIENT_PORT, 443, &[7; 1420])).fragment(0x4000).frame();
        let told = both.run("too big", &long);
        assert_eq!((told.verdicts[0], told.action), (Verdict::ToldTooBig, Action::Transmit), "{vip}");
    }
}
