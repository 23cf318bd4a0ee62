//! Encapsulated packets that somebody recorded and sends again: each goes where it went and no further, and is no
//! more than what its client could repeat.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_agent::l4::wanted::Wanted;
use lb_common::encap::{Chain, Direction};
use lb_common::map::member;
use lb_common::row::{MemberId, NO_MEMBER, ROW_MEMBERS, Row};
use lb_common::verdict::{DropReason, Verdict};
use lb_ebpf::{Action, Socket};
use lb_tests::fixture::{
    self, CLIENT4, CLIENT6, CLUSTER, FAR, INGRESS, NEAR, Outer, THIS, VIP4, VIP6, address,
};
use lb_tests::handshake::Node;
use lb_tests::packet::{NODE_MAC, ROUTER_MAC};

use crate::check::Both;
use crate::wire::Encapsulated;

use Direction::{FromOpener, ToOpener};

pub(crate) const MEMBERS: [MemberId; 3] = [THIS, NEAR, FAR];

/// Known to nobody, any more or yet.
const UNKNOWN: MemberId = 77;

/// What a member's maps hold.
pub(crate) fn view(outer: Outer, id: MemberId) -> Wanted {
    let mut wanted = fixture::wanted(outer);
    wanted.config.member = id;
    let own = wanted.members[&id].address;
    match outer {
        Outer::V4 => wanted.config.local_v4 = own[0] as u32,
        Outer::V6 => wanted.config.local_v6 = own,
    }
    for found in wanted.members.values_mut() {
        found.flags |= member::REACHABLE;
        (found.ifindex, found.mtu) = (INGRESS, 1500);
        (found.source, found.next_hop) = (NODE_MAC, ROUTER_MAC);
    }
    wanted
}

/// The whole edge.
struct Edge {
    outer: Outer,
    nodes: BTreeMap<MemberId, Both>,
}

impl Edge {
    fn new(outer: Outer) -> Self {
        Self { outer, nodes: MEMBERS.map(|id| (id, Both::with(&view(outer, id)))).into() }
    }

    /// Gives a packet to a member, and then to each to which it is sent on: who got it, and the last one's verdict.
    fn follow(&mut self, name: &str, mut at: MemberId, mut frame: Vec<u8>) -> (Vec<MemberId>, Verdict) {
        let mut way = vec![at];
        loop {
            let outcome = self.nodes.get_mut(&at).expect("a member").run(name, &frame);
            if outcome.action != Action::Transmit {
                return (way, outcome.verdicts[0]);
            }
            assert_eq!(outcome.verdicts, [Verdict::PassedOn], "{name}");
            at = receiver(self.outer, &outcome.frame);
            way.push(at);
            assert!(way.len() <= ROW_MEMBERS, "{name}: {way:?}");
            frame = outcome.frame;
        }
    }
}

/// For whom an encapsulated packet is.
pub(crate) fn receiver(outer: Outer, frame: &[u8]) -> MemberId {
    let of = |id: &MemberId| match address(outer, *id) {
        IpAddr::V4(address) => frame[30..34] == address.octets(),
        IpAddr::V6(address) => frame[38..54] == address.octets(),
    };
    MEMBERS.into_iter().find(of).expect("a member's address")
}

fn replayed(outer: Outer, chain: Chain) -> Encapsulated {
    Encapsulated { chain, ..Encapsulated::new(outer, CLIENT4, VIP4) }
}

/// Every row, direction and hop: what was recorded anywhere on a walk, sent where it was for and elsewhere.
#[test]
fn a_replay_walks_what_was_left_of_its_chain() {
    const IDS: [MemberId; 5] = [NO_MEMBER, THIS, NEAR, FAR, UNKNOWN];
    for (outer, ids) in [(Outer::V4, &IDS[..]), (Outer::V6, &IDS[1..4])] {
        let mut edge = Edge::new(outer);
        let rows = ids.iter().flat_map(|&first| {
            ids.iter().flat_map(move |&second| ids.iter().map(move |&third| [first, second, third]))
        });
        for row in rows {
            for (direction, hop) in
                [FromOpener, ToOpener].into_iter().flat_map(|way| (0..4).map(move |hop| (way, hop)))
            {
                let chain = Chain { row: Row::new(row), direction, stand_ins: 0, hop };
                // One stands for all that it is not for.
                for at in [chain.target(), Some(FAR)].into_iter().flatten().filter(|at| MEMBERS.contains(at))
                {
                    let name = format!("{outer:?} {row:?} {direction:?} {hop} at {at}");
                    let (way, last) = edge.follow(&name, at, for_member(outer, chain, at));
                    check(&name, chain, at, &way, last);
                }
            }
        }
    }
}

/// With the outer address of the member that it is sent to: no tag is over that.
fn for_member(outer: Outer, chain: Chain, at: MemberId) -> Vec<u8> {
    replayed(outer, chain).datagram().to(address(outer, at)).frame()
}

fn check(name: &str, chain: Chain, at: MemberId, way: &[MemberId], last: Verdict) {
    if chain.target() != Some(at) {
        assert_eq!((way, last), (&[at][..], Verdict::Drop(DropReason::NotMyHop)), "{name}");
        return;
    }
    if chain.row.names_one_twice() {
        assert_eq!((way, last), (&[at][..], Verdict::Drop(DropReason::LoopingChain)), "{name}");
        return;
    }
    // The members that it has still to ask, in order.
    let rest: Vec<MemberId> = (0..ROW_MEMBERS)
        .map(|place| (chain.rest() >> (16 * place)) as MemberId)
        .filter(|id| MEMBERS.contains(id))
        .collect();
    assert_eq!(way, rest, "{name}");
}

#[test]
fn who_is_no_member_any_more_takes_and_sends_nothing() {
    for outer in [Outer::V4, Outer::V6] {
        let mut wanted = view(outer, THIS);
        wanted.config.member = NO_MEMBER;
        let mut both = Both::with(&wanted);
        for row in [[THIS, 0, 0], [THIS, NEAR, 0], [NEAR, THIS, 0]] {
            for (direction, hop) in [(FromOpener, 0), (FromOpener, 1), (ToOpener, 1), (ToOpener, 0)] {
                let chain = Chain { row: Row::new(row), direction, stand_ins: 0, hop };
                let name = format!("{outer:?} {row:?} {direction:?} {hop}");
                both.drops(&name, &replayed(outer, chain).frame(), DropReason::NotMyHop);
            }
        }
        // The others do not send it there.
        let mut wanted = view(outer, THIS);
        wanted.members.remove(&NEAR);
        let chain = Chain::to_opener(Row::new([THIS, NEAR, 0]));
        let mut both = Both::with(&wanted);
        both.drops("a former member", &replayed(outer, chain).frame(), DropReason::UnknownChain);
    }
}

/// With the key that both clusters have, a tag says of which of them the packet is.
#[test]
fn another_clusters_packets_cannot_be_made_this_ones() {
    const CLUSTER_ID: usize = 12;
    for (outer, gue) in [(Outer::V4, 42), (Outer::V6, 62)] {
        let mut both = Both::fixture(outer);
        for (client, vip) in [(CLIENT4, VIP4), (CLIENT6, VIP6)] {
            let theirs = Encapsulated { cluster: CLUSTER + 1, ..Encapsulated::new(outer, client, vip) };
            let mut frame = theirs.frame();
            both.drops("as it is", &frame, DropReason::WrongCluster);
            frame[gue + CLUSTER_ID..gue + CLUSTER_ID + 4].copy_from_slice(&CLUSTER.to_be_bytes());
            both.drops("renamed", &frame, DropReason::BadTag);
        }
    }
}

/// The first packet of a connection that lives is the connection's: nothing opens a second time. When it has ended, it is
/// a client's next one, which needs that client to go on.
#[test]
fn a_replayed_opening_belongs_to_what_it_opened() {
    let node = Node::new();
    node.namespace.run(|| {
        for (client, vip) in [(CLIENT4, VIP4), (CLIENT6, VIP6)] {
            let chain = Chain { row: Row::new([NEAR, THIS, 0]), direction: ToOpener, stand_ins: 0, hop: 1 };
            let (living, _stream) = node.open(client, 40_101);
            let closed = node.closed(client, 40_102);
            let half = node.half_open(client, 40_103);
            for (who, socket, verdict) in [
                (&living, Socket::Connection, Verdict::FoundSecond),
                (&half, Socket::Connection, Verdict::FoundSecond),
                (&closed, Socket::OtherConnection, Verdict::PassedOn),
            ] {
                let hash = lb_common::hash::flow_hash(&fixture::local().keys.in_force, &who.tuple());
                let inner = who.syn();
                let packet = Encapsulated { chain, hash, inner, ..Encapsulated::new(Outer::V4, client, vip) };
                let mut both = Both::with(&view(Outer::V4, THIS));
                both.host_has(who.tuple(), socket);
                assert_eq!(both.run(&format!("{vip}, {socket:?}"), &packet.frame()).verdicts, [verdict]);
            }
        }
    });
}
