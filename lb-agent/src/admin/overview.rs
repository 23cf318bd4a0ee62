//! What `explain` and `top` need of an agent: names, and how members and flows are. Short where a dump is long: it
//! names no route and no certificate.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Live;
use super::drain::DrainReport;
use super::flow_keys::FlowKeysReport;
use crate::model::{Generation, History, Member, Snapshot};

/// A node of one moment, as JSON.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Overview {
    /// Its name.
    pub node: String,
    /// The agent's version.
    pub version: String,
    /// What keeps it from being ready.
    pub not_ready: Vec<String>,
    /// How its drain goes.
    pub drain: DrainReport,
    /// Whether no member answers, for this node's own fault.
    pub alone: bool,
    /// Whether others open its flows, for its agent was silent.
    #[serde(default)]
    pub stood_in: bool,
    /// Open connections to VIPs on it; `None` without a packet path.
    pub held: Option<u64>,
    /// Those that are half open come on top: many in a SYN flood. `None` while they are not known.
    pub half_open: Option<u64>,
    /// The age of the oldest, in seconds.
    pub oldest: Option<u64>,
    /// Its flow keys.
    #[serde(default)]
    pub flow_keys: FlowKeysReport,
    /// Memberships whose members may own flows, the oldest first.
    pub memberships: Vec<Membership>,
    /// The change that waits, and for what.
    pub queued: Option<String>,
    /// All members of them.
    pub members: Vec<MemberOverview>,
    /// Services by address.
    pub services: BTreeMap<String, String>,
}

/// A membership.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Membership {
    /// Its number; 0 without a history.
    pub number: u64,
    /// `learn`, `switch` or `settled`.
    pub step: String,
    /// Its members.
    pub members: Vec<String>,
}

/// A member as the node sees it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct MemberOverview {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: u16,
    /// Its address.
    pub address: IpAddr,
    /// Its share of new flows; 0 if it is to have none.
    pub weight: u32,
    /// Where it stands: `joining`, `active`, `draining` or `dead`; where that cannot be told, `unheard` if it has not answered
    /// yet, and `silent` if it does not while this node is to blame.
    #[serde(default)]
    pub standing: String,
    /// `up`, `down`, `unheard`, or `this node`; `unknown` without a packet path.
    pub state: String,
    /// The same in words.
    pub words: String,
    /// How long its last answer took.
    pub round_trip_microseconds: Option<u64>,
    /// Probes of it that were lost, in all.
    pub lost: u64,
}

impl Overview {
    /// Of this moment.
    pub(super) fn new(live: &Live) -> Self {
        let snapshot = live.snapshot().unwrap_or_default();
        let loaded = live.kernel.as_ref().map(|loaded| *loaded.borrow());
        let history = history(live, &snapshot);
        Self {
            node: live.node.clone(),
            version: live.version.to_owned(),
            not_ready: live.not_ready(),
            drain: DrainReport::new(live),
            alone: live.is_alone(),
            stood_in: live.is_stood_in(),
            held: loaded.map(|loaded| loaded.held),
            half_open: live.holdings().map(|holdings| holdings.half_open as u64),
            oldest: loaded.and_then(|loaded| loaded.oldest).map(|age| age.as_secs()),
            flow_keys: FlowKeysReport::new(&live.keys()),
            memberships: history.agreed.iter().map(|generation| Membership::new(generation)).collect(),
            queued: history.queued.clone(),
            members: members(&history, &snapshot)
                .into_values()
                .map(|member| MemberOverview::new(member, &history, live))
                .collect(),
            services: snapshot
                .services
                .iter()
                .map(|(address, service)| (address.to_string(), service.object.to_string()))
                .collect(),
        }
    }

    /// The member of an id.
    #[must_use]
    pub fn member(&self, id: u16) -> Option<&MemberOverview> {
        self.members.iter().find(|member| member.id == id)
    }
}

/// The name of a member's id.
pub(super) fn name(live: &Live, id: u16) -> Option<String> {
    let snapshot = live.snapshot().unwrap_or_default();
    let history = history(live, &snapshot);
    members(&history, &snapshot).remove(&id).map(|member| member.name)
}

/// What rows are made of; without a packet path, what they would be.
fn history(live: &Live, snapshot: &Snapshot) -> History {
    let known = live.history();
    if known.agreed.is_empty() { History { agreed: snapshot.generations.clone(), ..known } } else { known }
}

/// Where memberships disagree, the newest is right, and what objects say comes after them: a change may wait, and a drain
/// that is heard in probes is in no object. Who is not in the newest one is to have no new flows; where all drain,
/// each goes on alike.
fn members(history: &History, snapshot: &Snapshot) -> BTreeMap<u16, Member> {
    let newest = history.agreed.last();
    let is_left = |name: &str| newest.is_some_and(|newest| !newest.members.contains_key(name));
    let all_drain = newest.is_some_and(|newest| newest.all_drain() && !newest.goes_on);
    let all = snapshot.members.values().chain(history.members()).map(|member| {
        let weight = match is_left(&member.name) {
            true => 0,
            false if all_drain => 1,
            false => member.weight,
        };
        (member.id, Member { weight, ..member.clone() })
    });
    all.collect()
}

impl Membership {
    fn new(generation: &Generation) -> Self {
        Self {
            number: generation.number,
            step: generation.step.to_string().to_lowercase(),
            members: generation.members.keys().cloned().collect(),
        }
    }
}

impl MemberOverview {
    fn new(member: Member, history: &History, live: &Live) -> Self {
        let Member { name, id, address, weight } = member;
        let peers = live.peers();
        let peer = peers.all.iter().find(|peer| peer.id == id);
        let (state, words) = match peer {
            _ if name == live.node => ("this node", "this node".to_owned()),
            Some(peer) => (peer.state.label(), live.words_of(peer)),
            None => ("unknown", format!("{name} is not asked")),
        };
        let micros = |time: Duration| u64::try_from(time.as_micros()).ok();
        let standing = match state {
            "down" if peer.is_some_and(|peer| live.passes_over(peer)) => "dead",
            "down" => "silent",
            "unheard" => "unheard",
            _ => standing(&name, history),
        };
        Self {
            name,
            id,
            address,
            weight,
            standing: standing.to_owned(),
            state: state.to_owned(),
            words,
            round_trip_microseconds: peer.and_then(|peer| peer.round_trip).and_then(micros),
            lost: peer.map_or(0, |peer| peer.lost),
        }
    }
}

/// Of a member that answers. Who left drains to its end; who is in none of them yet has a change that waits.
fn standing(name: &str, history: &History) -> &'static str {
    let is_in = |generation: &Generation| generation.members.contains_key(name);
    let Some(newest) = history.agreed.last() else { return "active" };
    let is_left = !is_in(newest) && history.agreed.iter().any(|generation| is_in(generation));
    let drains = newest.members.get(name).is_some_and(|member| member.weight == 0 || newest.goes_on);
    match history.in_force() {
        _ if is_left || drains => "draining",
        Some(in_force) if is_in(in_force) => "active",
        _ => "joining",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::watch;

    use super::super::dump::tests::snapshot;
    use super::super::live::tests::{live, peer};
    use super::*;
    use crate::model::{PeerState, Peers, Step};

    #[test]
    fn the_newest_membership_says_who_is_to_have_new_flows() {
        let member = |name: &str, id, weight| {
            let address = IpAddr::from([198, 51, 100, 2]);
            (name.to_owned(), Member { name: name.to_owned(), id, address, weight })
        };
        let generation = |number, members: Vec<_>| {
            Arc::new(Generation::new(number, Step::Settled, members.into_iter().collect()))
        };
        let first =
            generation(1, vec![member("edge-1", 1, 9), member("edge-2", 2, 9), member("edge-3", 3, 9)]);
        // edge-2 drains, as its probes say; edge-3 has left.
        let second = generation(2, vec![member("edge-1", 1, 9), member("edge-2", 2, 0)]);
        let history = History { agreed: vec![first, second], ..History::default() };
        let objects = BTreeMap::from([member("edge-1", 1, 9), member("edge-2", 2, 9)]);
        let snapshot = Snapshot { members: objects, ..Snapshot::default() };
        let weights = |history: &History| -> Vec<_> {
            members(history, &snapshot).into_values().map(|member| (member.name, member.weight)).collect()
        };
        let expected = |weights: [u32; 3]| {
            ["edge-1", "edge-2", "edge-3"].map(str::to_owned).into_iter().zip(weights).collect::<Vec<_>>()
        };
        assert_eq!(weights(&history), expected([9, 0, 0]));
        let all = generation(3, vec![member("edge-1", 1, 0), member("edge-2", 2, 0)]);
        let history = History { agreed: [history.agreed, vec![all]].concat(), ..History::default() };
        assert_eq!(weights(&history), expected([1, 1, 0]), "all drain");
        let members = [member("edge-1", 1, 9), member("edge-2", 2, 9), member("edge-4", 4, 9)];
        let learned = Generation::new(4, Step::Learn, BTreeMap::from(members));
        let mut history = History::default();
        assert_eq!(standing("edge-1", &history), "active", "nothing is known");
        history.agreed.push(generation(
            3,
            vec![member("edge-1", 1, 9), member("edge-2", 2, 0), member("edge-3", 3, 9)],
        ));
        let standings = |history: &History, names: &[&str]| -> Vec<_> {
            names.iter().map(|name| standing(name, history)).collect()
        };
        assert_eq!(standings(&history, &["edge-1", "edge-2", "edge-3"]), ["active", "draining", "active"]);
        history.agreed.push(Arc::new(learned));
        assert_eq!(
            standings(&history, &["edge-1", "edge-3", "edge-4", "edge-5"]),
            ["active", "draining", "joining", "joining"],
            "edge-3 leaves, the change of edge-5 is queued"
        );
        let alone = Generation {
            goes_on: true,
            ..Generation::new(4, Step::Settled, [member("edge-1", 1, 9)].into())
        };
        let history = History { agreed: vec![Arc::new(alone)], ..History::default() };
        assert_eq!(standings(&history, &["edge-1"]), ["draining"]);
        assert_eq!(weights(&history)[0].1, 9, "it goes on");
    }

    #[test]
    fn members_of_all_memberships_are_named() {
        let other =
            Member { name: "edge-2".to_owned(), id: 2, address: IpAddr::from([198, 51, 100, 2]), weight: 1 };
        let former = Generation::new(4, Step::Settled, BTreeMap::from([("edge-2".to_owned(), other)]));
        let snapshot = Snapshot { generations: vec![Arc::new(former)], ..snapshot() };
        let peers = Peers { all: vec![peer(PeerState::Down)], stuck: None };
        let live = Live {
            peers: Some(watch::Sender::new(peers).subscribe()),
            down: Some(watch::Sender::new([2].into()).subscribe()),
            ..live(Some(7), 7, Some(snapshot))
        };
        let overview = Overview::new(&live);
        let text = serde_json::to_string(&overview).expect("it is JSON");
        assert_eq!(serde_json::from_str::<Overview>(&text).expect("its own words"), overview);
        let states: Vec<_> =
            overview.members.iter().map(|member| (member.name.as_str(), member.state.as_str())).collect();
        assert_eq!(states, [("edge-1", "this node"), ("edge-2", "down")]);
        assert_eq!(overview.member(2).map(|member| member.standing.as_str()), Some("dead"));
        assert_eq!(
            overview.member(2).expect("it is one").words,
            "edge-2 has never answered: no new flows go there"
        );
        let cut_off = Overview::new(&Live { down: None, ..live.clone() });
        let silent = cut_off.member(2).expect("it is one");
        assert_eq!(
            (silent.standing.as_str(), silent.words.as_str()),
            ("silent", "edge-2 has never answered")
        );
        assert_eq!(overview.memberships[0].step, "settled");
        assert_eq!(overview.services["192.0.2.10:80/tcp"], "Service edge/vip");
        assert_eq!(overview.member(2).and_then(|member| member.round_trip_microseconds), Some(250));
    }
}
