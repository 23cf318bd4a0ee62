//! Two nodes that ask each other, with the tests as the network between them.

use std::net::Ipv4Addr;

use lb_common::hash::{FlowKey, KEY_WORDS};
use lb_common::probe::{STAMP, STAMPED};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::l4::liveness::PATIENCE;
use crate::model::{Holder, PeerState};

const PORT: u16 = 6080;

const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), PORT);

fn key(word: u64) -> FlowKey {
    FlowKey::new([word; KEY_WORDS])
}

fn cluster() -> Cluster {
    Cluster { keys: Keys::only(key(7)), id: 3, port: PORT }
}

fn address(id: u16) -> IpAddr {
    IpAddr::from([192, 0, 2, id as u8])
}

fn roster(own: u16, peers: &[u16]) -> Roster {
    let peers = peers.iter().map(|&id| (id, (format!("edge-{id}"), address(id)))).collect();
    Roster { id: own, address: address(own), peers }
}

fn prober(own: u16, peers: &[u16], now: Instant) -> Prober {
    let mut prober = Prober::new(cluster(), now);
    prober.follow(Some(&roster(own, peers)), now);
    prober
}

/// What XDP does on the way.
fn stamped((_, mut bytes): Outgoing) -> [u8; LEN] {
    bytes[STAMP..STAMP + 2].copy_from_slice(&STAMPED);
    bytes
}

/// Whoever sent it: what a member says it is, is what its tag proves.
fn came(bytes: &[u8]) -> (&[u8], SocketAddr) {
    (bytes, ANYWHERE)
}

fn states(prober: &Prober) -> Vec<PeerState> {
    prober.peers().iter().map(|peer| peer.state).collect()
}

const SAID: Said = Said {
    is_draining: true,
    in_force: 5,
    needed: Some([4, 0, 0]),
    room: 9,
    inner_mtu: 1252,
    was_away: true,
};

#[test]
fn an_answer_brings_the_peer_up_and_says_what_it_says() {
    let now = Instant::now();
    let (mut first, mut second) = (prober(1, &[2, 3], now), prober(2, &[1, 3], now));
    let asks = first.asks(now, &Said::default());
    assert_eq!(
        asks.iter().map(|ask| ask.0).collect::<Vec<_>>(),
        [2, 3].map(|id| SocketAddr::new(address(id), PORT))
    );
    assert!(first.asks(now, &Said::default()).is_empty(), "nothing is due again at once");
    let answer = second.take(came(&stamped(asks[0])), now, Some(&SAID)).expect("it is for this node");
    assert_eq!(answer.0, SocketAddr::new(address(1), PORT));
    assert!(second.heard().is_empty(), "an ask may be a replay: its words do not count");
    let answer = stamped(answer);
    assert_eq!(first.take(came(&answer), now, None), None);
    assert_eq!(states(&first), [PeerState::Up, PeerState::Unheard]);
    let Said { is_draining, in_force, needed, room, inner_mtu, was_away } = SAID;
    let said = Heard {
        is_draining,
        in_force,
        needed,
        room,
        inner_mtu,
        key: fingerprint(&key(7)),
        takes_for_down: false,
        was_away,
    };
    assert_eq!(first.heard(), BTreeMap::from([(2, said)]));
}

#[test]
fn what_is_not_a_fresh_answer_of_a_peer_changes_nothing() {
    let now = Instant::now();
    let (mut first, mut second) = (prober(1, &[2], now), prober(2, &[1], now));
    let ask = first.asks(now, &Said::default()).remove(0);
    let plain = second.take(came(&stamped(ask)), now, Some(&SAID)).expect("it is for this node");
    let forge = |change: &dyn Fn(&mut Probe), key: [u64; KEY_WORDS]| {
        let mut probe = Message::from_bytes(&plain.1).expect("a message").probe().expect("a probe");
        change(&mut probe);
        stamped((plain.0, Message::new(&probe, &FlowKey::new(key)).bytes()))
    };
    for (what, bytes) in [
        ("not stamped", plain.1),
        ("another key", forge(&|_| {}, [8; KEY_WORDS])),
        ("another cluster", forge(&|probe| probe.cluster = 4, [7; KEY_WORDS])),
        ("for another member", forge(&|probe| probe.to = 2, [7; KEY_WORDS])),
        ("of an unknown member", forge(&|probe| probe.from = 9, [7; KEY_WORDS])),
        ("to another ask", forge(&|probe| probe.sequence += 1, [7; KEY_WORDS])),
    ] {
        assert_eq!(first.take(came(&bytes), now, Some(&SAID)), None, "{what}");
        assert_eq!((states(&first), first.heard().len()), (vec![PeerState::Unheard], 0), "{what}");
    }
    assert_eq!(first.take(came(&plain.1[1..]), now, Some(&SAID)), None, "another length");
    assert_eq!(second.take(came(&stamped(ask)), now, None), None, "a node that is stuck is silent");
}

#[test]
fn who_opens_nothing_leaves_asks_unanswered_and_goes_on_asking() {
    let now = Instant::now();
    let (mut first, mut second) = (prober(1, &[2], now), prober(2, &[1], now));
    second.opens(false);
    let ask = first.asks(now, &Said::default()).remove(0);
    assert_eq!(second.take(came(&stamped(ask)), now, Some(&SAID)), None);
    let own = second.asks(now, &SAID).remove(0);
    let answer = first.take(came(&stamped(own)), now, Some(&Said::default())).expect("it is asked");
    second.take(came(&stamped(answer)), now, None);
    assert_eq!(states(&second), [PeerState::Up]);
    second.opens(true);
    assert!(second.take(came(&stamped(ask)), now, Some(&SAID)).is_some());
}

#[test]
fn who_stays_keeps_its_verdict() {
    let now = Instant::now();
    let (mut first, mut second) = (prober(1, &[2], now), prober(2, &[1], now));
    let ask = first.asks(now, &Said::default()).remove(0);
    let answer = second.take(came(&stamped(ask)), now, Some(&SAID)).expect("it is for this node");
    first.take(came(&stamped(answer)), now, None);
    first.follow(Some(&roster(1, &[2, 3])), now);
    assert_eq!(states(&first), [PeerState::Up, PeerState::Unheard]);
    let mut moved = roster(1, &[2]);
    moved.peers.insert(2, ("edge-2".to_owned(), address(200)));
    first.follow(Some(&moved), now);
    assert_eq!(states(&first), [PeerState::Unheard], "another address is another machine");
    first.follow(None, now);
    assert!(first.peers().is_empty() && first.due().is_none());
}

#[test]
fn own_absence_is_nobodys_silence() {
    let start = Instant::now();
    let (mut first, mut second) = (prober(1, &[2], start), prober(2, &[1], start));
    let mut now = start;
    let mut exchange = |first: &mut Prober, now, is_answered: bool| {
        for ask in first.asks(now, &Said::default()) {
            let answer = second.take(came(&stamped(ask)), now, Some(&SAID)).filter(|_| is_answered);
            answer.map(|answer| first.take(came(&stamped(answer)), now, None));
        }
        first.look(now);
    };
    for _ in 0..50 {
        exchange(&mut first, now, true);
        now += Duration::from_millis(20);
    }
    now += Duration::from_secs(9);
    exchange(&mut first, now, false);
    exchange(&mut first, now, false);
    assert_eq!(states(&first), [PeerState::Up], "it was this node that did not run");
    for _ in 0..25 {
        now += Duration::from_millis(20);
        exchange(&mut first, now, false);
    }
    assert_eq!(states(&first), [PeerState::Down]);
    let ask = first.asks(now + EVERY + JITTER, &Said::default()).remove(0);
    let probe = Message::from_bytes(&ask.1).expect("a message").probe().expect("a probe");
    assert!(probe.is_down, "who is down is told so");
}

fn question() -> (Question, UnboundedReceiver<Holder>) {
    let (answers, answered) = unbounded_channel();
    let (client, vip) =
        (SocketAddr::from(([192, 0, 2, 9], 40_000)), SocketAddr::from(([203, 0, 113, 10], 443)));
    (Question { client, vip, answers }, answered)
}

fn holder(id: u16, has_connection: Option<bool>) -> Holder {
    Holder { name: format!("edge-{id}"), id, has_connection }
}

#[test]
fn all_others_are_asked_for_a_flow_and_each_answers_once() {
    let now = Instant::now();
    let (mut first, mut second) = (prober(1, &[2, 3], now), prober(2, &[1, 3], now));
    let (question, mut answered) = question();
    let flow = flow_hash(&key(7), &tuple(question.client, question.vip).expect("of one family"));
    let asks = first.inquire(question, now);
    assert_eq!(
        asks.iter().map(|ask| ask.0).collect::<Vec<_>>(),
        [2, 3].map(|id| SocketAddr::new(address(id), PORT))
    );
    for ask in &asks {
        assert_eq!(second.take(came(&stamped(*ask)), now, Some(&SAID)), None, "it has to be looked up");
    }
    let asked = second.unanswered();
    assert_eq!(asked.iter().map(|asked| (asked.from, asked.flow)).collect::<Vec<_>>(), [(1, flow)]);
    let answer = second.looked_up(&Inquiry { has: Some(true), ..asked[0] }).expect("it knows who asked");
    assert_eq!(answer.0, SocketAddr::new(address(1), PORT));
    let other = Inquiry { flow: flow + 1, has: Some(false), ..asked[0] };
    for answer in [second.looked_up(&other).expect("the same"), answer, answer] {
        first.take(came(&stamped(answer)), now, None);
    }
    assert_eq!(answered.try_recv(), Ok(holder(2, Some(true))));
    assert_eq!(answered.try_recv(), Err(TryRecvError::Empty));
    first.look(now + PATIENCE);
    assert_eq!(answered.try_recv(), Ok(holder(3, None)));
    assert_eq!(answered.try_recv(), Err(TryRecvError::Disconnected), "nobody is waited for");
}

#[test]
fn what_is_asked_again_and_again_is_not_looked_up() {
    let now = Instant::now();
    let (mut first, mut second) = (prober(1, &[2], now), prober(2, &[1], now));
    let ask = stamped(first.inquire(question().0, now)[0]);
    assert_eq!(second.take(came(&ask), now, None), None);
    assert!(second.unanswered().is_empty(), "who does not answer probes does not answer this");
    (0..100).for_each(|_| _ = second.take(came(&ask), now, Some(&SAID)));
    assert_eq!(second.unanswered().len(), 20);
    second.take(came(&ask), now + Duration::from_secs(1), Some(&SAID));
    assert_eq!(second.unanswered().len(), 1);
}

#[test]
fn nodes_hear_each_other_while_a_key_comes_and_the_former_one_goes() {
    let two = |in_force, other| Keys { in_force: key(in_force), other: Some(key(other)) };
    let steps = [Keys::only(key(7)), two(7, 8), two(8, 7), Keys::only(key(8))];
    for pair in steps.windows(2) {
        for keys in [[pair[0], pair[1]], [pair[1], pair[0]]] {
            let now = Instant::now();
            let (mut first, mut second) = (prober(1, &[2], now), prober(2, &[1], now));
            first.go_by(keys[0]);
            second.go_by(keys[1]);
            let ask = first.asks(now, &Said::default()).remove(0);
            let answer = second.take(came(&stamped(ask)), now, Some(&SAID)).expect("it hears the ask");
            first.take(came(&stamped(answer)), now, None);
            assert_eq!(states(&first), [PeerState::Up], "{keys:?}");
            first
                .inquire(question().0, now)
                .iter()
                .for_each(|ask| _ = second.take(came(&stamped(*ask)), now, Some(&SAID)));
            assert_eq!(second.unanswered().len(), 1, "{keys:?}");
        }
    }
    let now = Instant::now();
    let (mut before, mut after) = (prober(1, &[2], now), prober(2, &[1], now));
    before.go_by(steps[0]);
    after.go_by(steps[3]);
    let ask = before.asks(now, &Said::default()).remove(0);
    assert_eq!(after.take(came(&stamped(ask)), now, Some(&SAID)), None, "the former key is gone");
}

#[test]
fn a_node_that_is_no_member_asks_and_nobody_asks_it() {
    let now = Instant::now();
    let (mut first_hop, mut member) = (prober(NO_MEMBER, &[2], now), prober(2, &[1], now));
    let ask = stamped(first_hop.asks(now, &Said::default()).remove(0));
    let answer = member.take((&ask, ANYWHERE), now, Some(&SAID)).expect("it is answered");
    assert_eq!(answer.0, ANYWHERE, "to where it came from");
    assert_eq!(member.take((&ask, SocketAddr::new(ANYWHERE.ip(), 53)), now, Some(&SAID)), None);
    assert_eq!(member.take((&ask, ANYWHERE), now, None), None, "a member that is stuck is silent");
    assert_eq!(first_hop.take(came(&stamped(answer)), now, Some(&SAID)), None);
    assert_eq!(states(&first_hop), [PeerState::Up]);
    assert!(first_hop.heard()[&2].is_draining);
    // It is nobody's peer, and has no connections to tell of.
    assert_eq!(member.take(came(&stamped(answer)), now, Some(&SAID)), None);
    let mut other = prober(NO_MEMBER, &[2], now);
    assert_eq!(other.take(came(&ask), now, Some(&SAID)), None);
    let (answers, _) = unbounded_channel();
    let (client, vip) = (SocketAddr::new(address(9), 9), SocketAddr::new(address(10), 80));
    assert!(first_hop.inquire(Question { client, vip, answers }, now).is_empty());
}

/// It has learned of the change before the other has, and takes silence for death.
#[test]
fn one_that_joins_is_answered_before_it_is_known() {
    let now = Instant::now();
    let (mut joins, mut member) = (prober(3, &[2], now), prober(2, &[1], now));
    let ask = stamped(joins.asks(now, &Said::default()).remove(0));
    let answer = member.take((&ask, ANYWHERE), now, Some(&SAID)).expect("it is answered");
    assert_eq!(answer.0, ANYWHERE, "to where it came from");
    assert_eq!(member.take((&ask, SocketAddr::new(ANYWHERE.ip(), 53)), now, Some(&SAID)), None);
    joins.take(came(&stamped(answer)), now, Some(&SAID));
    assert_eq!(states(&joins), [PeerState::Up]);
    assert_eq!(
        (states(&member), member.heard().len()),
        (vec![PeerState::Unheard], 0),
        "it is believed nothing"
    );
}

#[test]
fn who_was_up_when_the_agent_before_asked_has_no_patience_to_hope_for() {
    let start = Instant::now();
    let mut prober = prober(1, &[2, 3], start);
    prober.begin(|id| (id == 2).then_some(PeerState::Up), start);
    let at = |millis| start + Duration::from_millis(millis);
    for millis in (0..400).step_by(20) {
        prober.asks(at(millis), &Said::default());
        prober.look(at(millis));
        let second = if millis < 300 { PeerState::Unheard } else { PeerState::Down };
        assert_eq!(states(&prober), [second, PeerState::Unheard], "{millis} ms");
    }
}

#[test]
fn who_was_down_when_the_agent_before_asked_is_down_until_it_answers() {
    let start = Instant::now();
    let (mut asks, mut answers) = (prober(1, &[2, 3], start), prober(2, &[1], start));
    asks.begin(|_| Some(PeerState::Down), start);
    for millis in (0..2_000).step_by(20) {
        let now = start + Duration::from_millis(millis);
        for (to, ask) in asks.asks(now, &Said::default()) {
            if let Some(answer) = answers.take((&stamped((to, ask)), ANYWHERE), now, Some(&SAID)) {
                asks.take(came(&stamped(answer)), now, Some(&SAID));
            }
        }
        asks.look(now);
        let second = if millis < 1_000 { PeerState::Down } else { PeerState::Up };
        assert_eq!(states(&asks), [second, PeerState::Down], "{millis} ms");
    }
}
