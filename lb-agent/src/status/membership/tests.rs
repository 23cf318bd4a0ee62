//! What follows from what: one case at a time.

use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;

use super::super::lease::NodeLease;
use super::*;
use crate::model::Mark;

pub(super) const PERIOD: Duration = Duration::from_secs(12);

/// A little cluster with a leader that never leaves office, and a clock that only moves when told.
struct World {
    now: Instant,
    second: i64,
    agents: Agents,
    nodes: Vec<EdgeNode>,
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
            history: EdgeMembershipSpec::default(),
        };
        for name in names {
            world.nodes.push(node(name, &[&format!("198.51.100.{}", name.as_bytes()[0])]));
            world.say(name, AgentState::Ready, 0);
        }
        world.step();
        for name in names {
            world.say(name, AgentState::Ready, 1);
        }
        world.step();
        world
    }

    fn say(&mut self, name: &str, state: AgentState, acknowledged: u64) {
        self.second += 1;
        let lease = NodeLease {
            node: name.to_owned(),
            holder: String::new(),
            renewal: Timestamp::from_second(self.second).ok(),
            duration: PERIOD,
            state,
            acknowledged: Mark { number: acknowledged, ..Mark::default() },
            rows: None,
            addresses: Vec::new(),
        };
        self.agents.apply(lease, self.now);
    }

    /// Time goes by while these renew every 3 seconds and nothing else is new.
    fn pass(&mut self, seconds: u64, who: &[&str]) {
        for _ in 0..seconds / 3 {
            self.now += Duration::from_secs(3);
            for name in who {
                let lease = self.agents.lease(name).expect("it has spoken before").clone();
                self.say(name, lease.state, lease.acknowledged.number);
            }
        }
    }

    fn step(&mut self) -> Next {
        let next = next(&self.history, &self.agents, &self.nodes, self.now);
        self.history = next.history.clone().unwrap_or_else(|| self.history.clone());
        next
    }

    /// Generations as `2! a1 b2*`: `!` is unsettled, `*` drains.
    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        self.step();
        let generation = |generation: &MembershipGeneration| {
            let mark = if generation.step == MembershipStep::Switch { "!" } else { "" };
            let members = generation.members.iter().map(|member| {
                let mark = if member.state == MemberState::Draining { "*" } else { "" };
                format!(" {}{}{mark}", member.name, member.id)
            });
            format!("{}{mark}{}", generation.number, members.collect::<String>())
        };
        let found: Vec<_> = self.history.generations.iter().map(generation).collect();
        assert_eq!(found, expected);
        assert_eq!(self.step().history, None, "once is enough");
    }
}

pub(super) fn node(name: &str, addresses: &[&str]) -> EdgeNode {
    let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
    EdgeNode { name: name.to_owned(), uid: String::new(), addresses }
}

#[test]
fn the_first_members_are_settled_when_they_have_it() {
    World::settled(&["a", "b"]).check(&["1 a1 b2"]);
}

#[test]
fn a_newcomer_joins_when_it_is_ready() {
    let mut world = World::settled(&["a", "b"]);
    world.nodes.push(node("c", &["198.51.100.3"]));
    world.check(&["1 a1 b2"]);
    world.say("c", AgentState::Starting, 0);
    world.check(&["1 a1 b2"]);
    world.say("c", AgentState::Ready, 0);
    world.check(&["1 a1 b2", "2! a1 b2 c3"]);
    world.say("a", AgentState::Ready, 2);
    world.say("b", AgentState::Ready, 2);
    world.check(&["1 a1 b2", "2! a1 b2 c3"]);
    world.say("c", AgentState::Ready, 2);
    world.check(&["2 a1 b2 c3"]);
}

#[test]
fn who_stops_or_loses_the_label_goes_at_once_and_returns_as_before() {
    let mut world = World::settled(&["a", "b", "c"]);
    world.say("b", AgentState::Stopped, 1);
    world.check(&["1 a1 b2 c3", "2! a1 c3"]);
    world.say("b", AgentState::Ready, 1);
    world.check(&["1 a1 b2 c3", "2! a1 c3", "3! a1 b2 c3"]);
    for name in ["a", "b", "c"] {
        world.say(name, AgentState::Ready, 3);
    }
    world.check(&["3 a1 b2 c3"]);
    world.nodes.retain(|node| node.name != "b");
    world.check(&["3 a1 b2 c3", "4! a1 c3"]);
    for name in ["a", "c"] {
        world.say(name, AgentState::Ready, 4);
    }
    world.check(&["4 a1 c3"]);
    world.nodes.push(node("b", &["198.51.100.98"]));
    world.check(&["4 a1 c3", "5! a1 b4 c3"]);
}

#[test]
fn who_drains_stays_without_new_flows() {
    let mut world = World::settled(&["a", "b"]);
    world.say("b", AgentState::Draining, 1);
    world.check(&["1 a1 b2", "2! a1 b2*"]);
    let mut world = World::settled(&["a"]);
    world.nodes.push(node("c", &["198.51.100.3"]));
    world.say("c", AgentState::Draining, 0);
    world.check(&["1 a1"]);
}

#[test]
fn the_dead_go_after_a_period_and_do_not_hold_up_the_others() {
    let mut world = World::settled(&["a", "b", "c"]);
    world.nodes.push(node("d", &["198.51.100.4"]));
    world.say("d", AgentState::Ready, 0);
    world.check(&["1 a1 b2 c3", "2! a1 b2 c3 d4"]);
    for name in ["a", "c", "d"] {
        world.say(name, AgentState::Ready, 2);
    }
    world.pass(9, &["a", "c", "d"]);
    world.check(&["1 a1 b2 c3", "2! a1 b2 c3 d4"]);
    world.pass(3, &["a", "c", "d"]);
    world.check(&["2 a1 b2 c3 d4", "3! a1 c3 d4"]);
}

#[test]
fn when_nobody_is_heard_nobody_goes() {
    let mut world = World::settled(&["a", "b", "c"]);
    world.pass(600, &[]);
    world.check(&["1 a1 b2 c3"]);
    // One is back first, and the others have their time.
    world.pass(9, &["a"]);
    world.check(&["1 a1 b2 c3"]);
    world.pass(3, &["a", "b"]);
    world.check(&["1 a1 b2 c3"]);
    world.pass(6, &["a", "b"]);
    world.check(&["1 a1 b2 c3", "2! a1 b2"]);
}

#[test]
fn the_last_members_stay() {
    let mut world = World::settled(&["a"]);
    world.say("a", AgentState::Stopped, 1);
    world.check(&["1 a1"]);
    world.say("a", AgentState::Starting, 0);
    world.check(&["1 a1"]);
    world.nodes.clear();
    world.check(&["1 a1"]);
}

#[test]
fn a_third_change_waits_but_a_death_does_not() {
    let mut world = World::settled(&["a", "b"]);
    for (name, address) in [("c", "198.51.100.3"), ("d", "198.51.100.4"), ("e", "198.51.100.5")] {
        world.nodes.push(node(name, &[address]));
        world.say(name, AgentState::Ready, 0);
        world.step();
    }
    let next = world.step();
    assert_eq!(next.waiting, ["e"]);
    world.check(&["1 a1 b2", "2! a1 b2 c3", "3! a1 b2 c3 d4"]);
    world.say("c", AgentState::Stopped, 0);
    world.check(&["1 a1 b2", "2! a1 b2 c3", "3! a1 b2 c3 d4", "4! a1 b2 d4"]);
    for name in ["a", "b", "d"] {
        world.say(name, AgentState::Ready, 3);
    }
    world.check(&["3 a1 b2 c3 d4", "4! a1 b2 d4", "5! a1 b2 d4 e5"]);
}

#[test]
fn a_history_that_is_gone_is_begun_behind_what_anyone_had() {
    let mut world = World::settled(&["a", "b"]);
    world.say("a", AgentState::Ready, 41);
    world.history = EdgeMembershipSpec::default();
    world.check(&["42! a1 b2"]);
}

#[test]
fn a_history_that_contradicts_itself_is_mended() {
    let mut world = World::settled(&["a", "b"]);
    for member in &mut world.history.generations[0].members {
        member.id = 2;
    }
    world.check(&["1 a2 b2", "2! a2 b3"]);
}

#[test]
fn addresses_are_of_the_members_family() {
    let mut world = World::settled(&["b"]);
    world.nodes.insert(0, node("a", &["2001:db8::1", "198.51.100.1"]));
    world.nodes.push(node("c", &["2001:db8::3"]));
    world.nodes.push(node("d", &["198.51.100.98"]));
    for name in ["a", "c", "d"] {
        world.say(name, AgentState::Ready, 0);
    }
    let found: Vec<_> = world.step().problems.iter().map(ToString::to_string).collect();
    let expected = [
        "error: Node c: status.addresses: the edge node has no IPv4 InternalIP, the family of the members; \
         it is not a member",
        "error: Node d: status.addresses: 198.51.100.98 is the InternalIP of Node b too; this node is not a member",
    ];
    assert_eq!(found, expected);
    world.check(&["1 b1", "2! a2 b1"]);
    assert_eq!(world.history.generations[1].members[0].address.to_string(), "198.51.100.1");
}

#[test]
fn a_changed_address_is_a_new_generation() {
    let mut world = World::settled(&["a", "b"]);
    world.nodes[1] = node("b", &["198.51.100.200"]);
    world.check(&["1 a1 b2", "2! a1 b2"]);
}
