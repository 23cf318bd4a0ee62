//! What follows from what: one case at a time. A little cluster, and how members come and change.

use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;

use super::super::lease::NodeLease;
use super::*;
use crate::api::MemberState;
use crate::model::{Drain, Mark, Step};
use crate::status::AgentState;

mod keys;
mod leaving;
mod nonsense;

pub(super) const PERIOD: Duration = Duration::from_secs(12);

/// Flows hold up a change for as long.
pub(super) const DEADLINE: Duration = Duration::from_secs(3600);

/// A little cluster with a leader that never leaves office, and a clock that only moves when told.
struct World {
    now: Instant,
    second: i64,
    agents: Agents,
    nodes: Vec<EdgeNode>,
    since: Since,
    history: EdgeMembershipSpec,
}

impl World {
    /// All of these have agents that are ready, and are members of generation 1, which is settled.
    fn settled(names: &[&str]) -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            second: 0,
            agents: Agents::new(PERIOD, now),
            nodes: Vec::new(),
            since: Since::default(),
            history: EdgeMembershipSpec::default(),
        };
        for name in names {
            world.nodes.push(node(name, &[&format!("198.51.100.{}", name.as_bytes()[0])]));
            world.say(name, AgentState::Ready);
        }
        world.step();
        world.acknowledge(names);
        world.step();
        world
    }

    /// As before, but for its state.
    fn say(&mut self, name: &str, state: AgentState) {
        self.write(name, |lease| lease.state = state);
    }

    /// They have the history as it is now in their kernels.
    fn acknowledge(&mut self, names: &[&str]) {
        let (oldest, newest) = (self.history.generations.first(), self.history.generations.last());
        let (oldest, newest) = (oldest.expect("there is one"), newest.expect("there is one"));
        let step = [Step::Learn, Step::Switch, Step::Settled][newest.step as usize];
        let mark = Mark { number: newest.number, step, oldest: oldest.number };
        for name in names {
            self.write(name, |lease| lease.acknowledged = mark);
        }
    }

    /// Changes what a Lease says, and renews it.
    fn write(&mut self, name: &str, change: impl FnOnce(&mut NodeLease)) {
        self.second += 1;
        let begins = || NodeLease::saying(name, PERIOD, AgentState::Starting);
        let mut lease = self.agents.lease(name).cloned().unwrap_or_else(begins);
        change(&mut lease);
        lease.renewal = Timestamp::from_second(self.second).ok();
        self.agents.apply(lease, self.now);
    }

    /// Time goes by while these renew every 3 seconds and nothing else is new.
    fn pass(&mut self, seconds: u64, who: &[&str]) {
        for _ in 0..seconds / 3 {
            self.now += Duration::from_secs(3);
            who.iter().for_each(|name| self.write(name, |_| {}));
        }
    }

    /// What follows, if the server keeps what a history says of its keys, or does not.
    fn next_of(&mut self, keeps_keys: bool) -> Next {
        self.since.observe(&self.history, self.now);
        self.since.observe_keys(&given_keys(&self.history, &self.agents, self.now), self.now);
        let Self { agents, nodes, since, now, .. } = &*self;
        let sight = Sight { agents, nodes, since, deadline: DEADLINE, keeps_keys, now: *now };
        next(&self.history, &sight)
    }

    fn step(&mut self) -> Next {
        let next = self.next_of(true);
        self.history = next.history.clone().unwrap_or_else(|| self.history.clone());
        next
    }

    /// What the generations are: `2!@b a1 b2*`. `?` is learned, `!` is switched to, `*` drains; `b` is the flow key.
    fn generations(&self) -> Vec<String> {
        let generation = |generation: &MembershipGeneration| {
            let mark = ["?", "!", ""][generation.step as usize];
            let members = generation.members.iter().map(|member| {
                let mark = if member.state == MemberState::Draining { "*" } else { "" };
                format!(" {}{}{mark}", member.name, member.id)
            });
            let key = generation.flow_key.map(|key| format!("@{:x}", key.0)).unwrap_or_default();
            format!("{}{mark}{key}{}", generation.number, members.collect::<String>())
        };
        self.history.generations.iter().map(generation).collect()
    }

    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        self.step();
        assert_eq!(self.generations(), expected);
        assert_eq!(self.step().history, None, "once is enough");
    }

    /// They acknowledge whatever is written, until nothing is any more.
    fn settle(&mut self, names: &[&str]) {
        loop {
            self.acknowledge(names);
            if self.step().history.is_none() {
                break;
            }
        }
    }
}

pub(super) fn node(name: &str, addresses: &[&str]) -> EdgeNode {
    let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
    EdgeNode { name: name.to_owned(), uid: String::new(), addresses, weight: EdgeNode::WEIGHT, drain: None }
}

#[test]
fn the_first_members_are_settled_when_they_have_it() {
    World::settled(&["a", "b"]).check(&["1 a1 b2"]);
}

#[test]
fn a_newcomer_is_learned_before_flows_open_there() {
    let mut world = World::settled(&["a", "b"]);
    world.nodes.push(node("c", &["198.51.100.3"]));
    world.check(&["1 a1 b2"]);
    world.say("c", AgentState::Starting);
    world.check(&["1 a1 b2"]);
    world.say("c", AgentState::Ready);
    world.check(&["1 a1 b2", "2? a1 b2 c3"]);
    world.acknowledge(&["a", "b"]);
    world.check(&["1 a1 b2", "2? a1 b2 c3"]);
    world.acknowledge(&["c"]);
    world.check(&["1 a1 b2", "2! a1 b2 c3"]);
    world.acknowledge(&["c", "a"]);
    world.check(&["1 a1 b2", "2! a1 b2 c3"]);
    world.acknowledge(&["b"]);
    world.check(&["1 a1 b2", "2 a1 b2 c3"]);
    // Who does not know that all have switched cannot say what it still needs.
    world.acknowledge(&["a", "b"]);
    world.check(&["1 a1 b2", "2 a1 b2 c3"]);
    world.acknowledge(&["c"]);
    world.check(&["2 a1 b2 c3"]);
}

#[test]
fn a_generation_is_kept_while_somebody_needs_it_until_the_deadline() {
    let mut world = World::settled(&["a", "b"]);
    world.nodes.push(node("c", &["198.51.100.3"]));
    world.say("c", AgentState::Ready);
    world.write("b", |lease| lease.needed = Some(1));
    world.settle(&["a", "b", "c"]);
    world.check(&["1 a1 b2", "2 a1 b2 c3"]);
    world.pass(1800, &["a", "b", "c"]);
    world.check(&["1 a1 b2", "2 a1 b2 c3"]);
    let mut freed = World { history: world.history.clone(), ..World::settled(&["a", "b"]) };
    freed.agents = world.agents.clone();
    freed.nodes.clone_from(&world.nodes);
    freed.write("b", |lease| lease.needed = Some(2));
    freed.check(&["2 a1 b2 c3"]);
    world.pass(1800, &["a", "b", "c"]);
    world.check(&["2 a1 b2 c3"]);
}

#[test]
fn who_is_no_member_is_waited_for_too() {
    // It is a first hop as well.
    let mut world = World::settled(&["a", "b"]);
    world.nodes.retain(|node| node.name != "b");
    world.check(&["1 a1 b2", "2? a1"]);
    world.acknowledge(&["a"]);
    world.check(&["1 a1 b2", "2? a1"]);
    world.settle(&["a", "b"]);
    world.check(&["2 a1"]);
    world.nodes.push(node("c", &["198.51.100.3"]));
    world.say("c", AgentState::Ready);
    world.step();
    world.acknowledge(&["a", "c"]);
    world.check(&["2 a1", "3? a1 c3"]);
    world.acknowledge(&["b"]);
    world.check(&["2 a1", "3! a1 c3"]);
}

#[test]
fn a_changed_weight_is_a_new_generation() {
    let mut world = World::settled(&["a", "b"]);
    world.nodes[1].weight = 50;
    world.check(&["1 a1 b2", "2? a1 b2"]);
    let weights =
        |generation: &MembershipGeneration| generation.members.iter().map(|m| m.weight).collect::<Vec<_>>();
    assert_eq!(world.history.generations.iter().map(weights).collect::<Vec<_>>(), [[100, 100], [100, 50]]);
}

#[test]
fn further_changes_wait_and_merge_and_it_is_said_for_whom() {
    let mut world = World::settled(&["a", "b"]);
    world.nodes.push(node("c", &["198.51.100.3"]));
    world.say("c", AgentState::Ready);
    world.write("b", |lease| (lease.needed, lease.held) = (Some(1), 12));
    world.settle(&["a", "b", "c"]);
    world.nodes.push(node("d", &["198.51.100.4"]));
    world.say("d", AgentState::Ready);
    world.check(&["1 a1 b2", "2 a1 b2 c3", "3? a1 b2 c3 d4"]);
    world.nodes.push(node("e", &["198.51.100.5"]));
    world.say("e", AgentState::Ready);
    world.acknowledge(&["a", "b"]);
    let waiting = |world: &mut World| world.step().waiting.join("; ");
    assert_eq!(
        waiting(&mut world),
        "change 4 queued (e joins): c, d, e have not acknowledged generation 3 (Learn)"
    );
    world.settle(&["a", "b", "c", "d", "e"]);
    assert_eq!(
        waiting(&mut world),
        "change 4 queued (e joins): b holds flows of generation 1 (12 connections in all)"
    );
    // It merges with what comes.
    world.nodes[0].drain = Some(Drain::Cordoned);
    world.nodes[2].weight = 7;
    world.nodes.retain(|node| node.name != "d");
    let changes = "a drains, c has weight 7, d leaves, e joins";
    assert!(waiting(&mut world).starts_with(&format!("change 4 queued ({changes}): b holds")));
    world.check(&["1 a1 b2", "2 a1 b2 c3", "3 a1 b2 c3 d4"]);
    // A death does not wait.
    world.say("c", AgentState::Stopped);
    world.check(&["1 a1 b2", "2 a1 b2 c3", "3 a1 b2 c3 d4", "4! a1 b2 d4"]);
    world.write("b", |lease| (lease.needed, lease.held) = (None, 0));
    world.settle(&["a", "b", "d", "e"]);
    world.check(&["5 a1* b2 e5"]);
}

/// Rows have no place for those of a further generation.
#[test]
fn a_change_waits_for_flows_that_opened_while_a_member_was_away() {
    let mut world = World::settled(&["a", "b"]);
    world.write("b", |lease| lease.stood_in = 1);
    world.nodes.push(node("c", &["198.51.100.3"]));
    world.say("c", AgentState::Ready);
    world.write("c", |lease| lease.needed = Some(1));
    world.settle(&["a", "b", "c"]);
    world.check(&["1 a1 b2", "2 a1 b2 c3"]);
    world.nodes[1].drain = Some(Drain::Cordoned);
    let words =
        "change 3 queued (b drains): rows of b lead to flows that opened elsewhere while a member was away";
    assert_eq!(world.step().waiting, [words]);
    world.write("b", |lease| lease.stood_in = 0);
    world.check(&["1 a1 b2", "2 a1 b2 c3", "3? a1 b2* c3"]);
    let mut world = World::settled(&["a", "b"]);
    world.write("a", |lease| lease.stood_in = 2);
    world.nodes[1].weight = 50;
    world.check(&["1 a1 b2"]);
    world.say("b", AgentState::Stopped);
    world.check(&["1 a1 b2", "2! a1"]);
}

#[test]
fn addresses_are_of_the_members_family() {
    let mut world = World::settled(&["b"]);
    world.nodes.insert(0, node("a", &["2001:db8::1", "198.51.100.1"]));
    world.nodes.push(node("c", &["2001:db8::3"]));
    world.nodes.push(node("d", &["198.51.100.98"]));
    for name in ["a", "c", "d"] {
        world.say(name, AgentState::Ready);
    }
    let found: Vec<_> = world.step().problems.iter().map(ToString::to_string).collect();
    let expected = [
        "error: Node c: status.addresses: the edge node has no IPv4 InternalIP, the family of the members; \
         it is not a member",
        "error: Node d: status.addresses: 198.51.100.98 is the InternalIP of Node b too; this node is not a member",
    ];
    assert_eq!(found, expected);
    world.check(&["1 b1", "2? a2 b1"]);
    assert_eq!(world.history.generations[1].members[0].address.to_string(), "198.51.100.1");
}

#[test]
fn a_changed_address_is_a_new_generation() {
    let mut world = World::settled(&["a", "b"]);
    world.nodes[1] = node("b", &["198.51.100.200"]);
    world.check(&["1 a1 b2", "2? a1 b2"]);
}
