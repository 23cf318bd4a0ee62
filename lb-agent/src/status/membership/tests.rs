//! What follows from what: one case at a time.

use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;

use super::super::lease::NodeLease;
use super::*;
use crate::api::MemberState;
use crate::model::{Drain, Mark, Step};
use crate::status::AgentState;

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
        let mut lease = self.agents.lease(name).cloned().unwrap_or_else(|| NodeLease {
            node: name.to_owned(),
            holder: String::new(),
            renewal: None,
            duration: PERIOD,
            state: AgentState::Starting,
            acknowledged: Mark::default(),
            rows: None,
            needed: None,
            held: 0,
            oldest: None,
            key: None,
            refused_key: None,
            addresses: Vec::new(),
        });
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

    fn step(&mut self) -> Next {
        self.since.observe(&self.history, self.now);
        let Self { agents, nodes, since, now, .. } = &*self;
        let sight = Sight { agents, nodes, since, deadline: DEADLINE, now: *now };
        let next = next(&self.history, &sight);
        self.history = next.history.clone().unwrap_or_else(|| self.history.clone());
        next
    }

    /// What the generations are: `2! a1 b2*`. `?` is learned, `!` is switched to, `*` drains.
    fn generations(&self) -> Vec<String> {
        let generation = |generation: &MembershipGeneration| {
            let mark = ["?", "!", ""][generation.step as usize];
            let members = generation.members.iter().map(|member| {
                let mark = if member.state == MemberState::Draining { "*" } else { "" };
                format!(" {}{}{mark}", member.name, member.id)
            });
            format!("{}{mark}{}", generation.number, members.collect::<String>())
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
fn who_stops_goes_at_once_and_returns_as_before() {
    let mut world = World::settled(&["a", "b", "c"]);
    world.say("b", AgentState::Stopped);
    world.check(&["1 a1 b2 c3", "2! a1 c3"]);
    world.say("b", AgentState::Ready);
    world.check(&["1 a1 b2 c3", "2! a1 c3", "3? a1 b2 c3"]);
    world.settle(&["a", "b", "c"]);
    world.check(&["3 a1 b2 c3"]);
}

#[test]
fn who_loses_the_label_leaves_in_steps_and_returns_under_another_id() {
    let mut world = World::settled(&["a", "b", "c"]);
    world.nodes.retain(|node| node.name != "b");
    world.check(&["1 a1 b2 c3", "2? a1 c3"]);
    world.settle(&["a", "b", "c"]);
    world.check(&["2 a1 c3"]);
    world.nodes.push(node("b", &["198.51.100.98"]));
    world.check(&["2 a1 c3", "3? a1 b4 c3"]);
}

#[test]
fn who_drains_stays_without_new_flows() {
    let mut world = World::settled(&["a", "b"]);
    world.say("b", AgentState::Draining);
    world.check(&["1 a1 b2", "2? a1 b2*"]);
    let mut world = World::settled(&["a"]);
    world.nodes.push(node("c", &["198.51.100.3"]));
    world.say("c", AgentState::Draining);
    world.check(&["1 a1"]);
}

#[test]
fn a_cordon_or_a_taint_drains_and_its_end_ends_that() {
    for drain in [Drain::Cordoned, Drain::Tainted] {
        let mut world = World::settled(&["a", "b", "c"]);
        world.nodes[1].drain = Some(drain);
        world.nodes[2].drain = Some(drain);
        world.check(&["1 a1 b2 c3", "2? a1 b2* c3*"]);
        world.settle(&["a", "b", "c"]);
        world.check(&["2 a1 b2* c3*"]);
        world.nodes[1].drain = None;
        world.settle(&["a", "b", "c"]);
        world.check(&["3 a1 b2 c3*"]);
    }
}

#[test]
fn when_all_drain_that_is_said_of_each() {
    let mut world = World::settled(&["a", "b"]);
    world.nodes[0].drain = Some(Drain::Cordoned);
    world.say("b", AgentState::Draining);
    let found: Vec<_> = world.step().problems.iter().map(ToString::to_string).collect();
    let words = "all edge nodes drain: this one goes on taking new flows until another one is active";
    assert_eq!(
        found,
        [format!("warning: Node a: spec.unschedulable: {words}"), format!("warning: Node b: {words}")]
    );
    world.check(&["1 a1 b2", "2? a1* b2*"]);
    world.nodes[0].drain = None;
    assert_eq!(world.step().problems, []);
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
fn the_dead_go_after_a_period_and_do_not_hold_up_the_others() {
    let mut world = World::settled(&["a", "b", "c"]);
    world.nodes.push(node("d", &["198.51.100.4"]));
    world.say("d", AgentState::Ready);
    world.check(&["1 a1 b2 c3", "2? a1 b2 c3 d4"]);
    world.acknowledge(&["a", "c", "d"]);
    world.pass(9, &["a", "c", "d"]);
    world.check(&["1 a1 b2 c3", "2? a1 b2 c3 d4"]);
    world.pass(3, &["a", "c", "d"]);
    world.check(&["1 a1 b2 c3", "3! a1 c3", "4? a1 c3 d4"]);
    world.settle(&["a", "c", "d"]);
    world.check(&["4 a1 c3 d4"]);
}

#[test]
fn what_was_being_learned_is_given_up_for_a_death() {
    let mut world = World::settled(&["a", "b", "c"]);
    world.nodes.push(node("d", &["198.51.100.4"]));
    world.say("d", AgentState::Ready);
    world.check(&["1 a1 b2 c3", "2? a1 b2 c3 d4"]);
    world.say("b", AgentState::Stopped);
    world.check(&["1 a1 b2 c3", "3! a1 c3", "4? a1 c3 d4"]);
    // The newcomer itself: the number is used up, the members are as before.
    world.say("d", AgentState::Stopped);
    world.check(&["1 a1 b2 c3", "3! a1 c3", "5! a1 c3"]);
    world.settle(&["a", "c"]);
    world.check(&["5 a1 c3"]);
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
    world.say("a", AgentState::Stopped);
    world.check(&["1 a1"]);
    world.say("a", AgentState::Starting);
    world.check(&["1 a1"]);
    world.nodes.clear();
    world.check(&["1 a1"]);
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
    let waiting = |world: &mut World| world.step().waiting.unwrap_or_default();
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

#[test]
fn a_history_that_is_gone_is_begun_behind_what_anyone_had() {
    let mut world = World::settled(&["a", "b"]);
    let mark = |number| Mark { number, step: Step::Settled, oldest: number };
    world.write("a", |lease| lease.acknowledged = mark(41));
    world.write("b", |lease| lease.acknowledged = mark(u64::MAX));
    world.history = EdgeMembershipSpec::default();
    world.check(&["42! a1 b2"]);
}

#[test]
fn an_old_history_that_was_put_back_is_superseded() {
    let mut world = World::settled(&["a", "b"]);
    let mark = |number| Mark { number, step: Step::Settled, oldest: number };
    world.write("a", |lease| lease.acknowledged = mark(41));
    world.write("b", |lease| lease.acknowledged = mark(41));
    world.check(&["1 a1 b2", "42! a1 b2"]);
    world.settle(&["a", "b"]);
    world.check(&["42 a1 b2"]);
}

#[test]
fn a_history_that_makes_no_sense_is_begun_anew_with_the_ids_that_can_be_saved() {
    let mut world = World::settled(&["a", "b"]);
    for member in &mut world.history.generations[0].members {
        member.id = 2;
    }
    world.check(&["2! a2 b3"]);
    let mut world = World::settled(&["a", "b"]);
    world.history.generations[0].number = i64::MAX as u64;
    world.check(&["2! a1 b2"]);
    let mut world = World::settled(&["a", "b"]);
    world.history.unreadable = Some("no".to_owned());
    world.check(&["2! a1 b2"]);
    assert_eq!(world.history.check(), Ok(()));
}

#[test]
fn numbers_do_not_run_over() {
    let mut world = World::settled(&["a", "b"]);
    world.history.generations[0].number = MOST_NUMBER;
    world.nodes.retain(|node| node.name != "b");
    world.step();
    assert_eq!(world.generations(), [format!("{MOST_NUMBER} a1 b2")]);
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

#[test]
fn who_goes_by_another_flow_key_does_not_join() {
    let mut world = World::settled(&["a", "b"]);
    ["a", "b"].iter().for_each(|name| world.write(name, |lease| lease.key = Some(1)));
    world.nodes.push(node("c", &["198.51.100.99"]));
    let join = |world: &mut World, key| {
        world.write("c", |lease| (lease.state, lease.key) = (AgentState::Ready, key));
        world.step()
    };
    let next = join(&mut world, Some(2));
    assert_eq!(world.generations(), ["1 a1 b2"]);
    let [problem] = next.problems.as_slice() else { panic!("{:?}", next.problems) };
    assert_eq!(problem.object.as_ref().map(|object| object.name.as_str()), Some("c"));
    assert!(problem.message.starts_with("flow key 00000002 of this node is not that"), "{problem}");
    let next = join(&mut world, Some(1));
    assert_eq!(
        (next.problems, world.generations()),
        (vec![], vec!["1 a1 b2".to_owned(), "2? a1 b2 c3".to_owned()])
    );
}

#[test]
fn where_all_begin_anew_another_flow_key_joins() {
    let mut world = World::settled(&["a", "b"]);
    for name in ["a", "b"] {
        world.write(name, |lease| (lease.state, lease.key) = (AgentState::Stopped, Some(1)));
    }
    world.nodes.push(node("c", &["198.51.100.99"]));
    world.write("c", |lease| (lease.state, lease.key) = (AgentState::Ready, Some(2)));
    assert_eq!(world.step().problems, []);
    assert!(
        world.generations().last().is_some_and(|newest| newest.contains(" c3")),
        "{:?}",
        world.generations()
    );
}

#[test]
fn members_say_which_flow_key_they_refuse_and_who_is_alone_with_his() {
    let mut world = World::settled(&["a", "b", "c"]);
    for (name, key, refused) in [("a", 1, Some(2)), ("b", 1, None), ("c", 2, None)] {
        world.write(name, |lease| (lease.key, lease.refused_key) = (Some(key), refused));
    }
    let next = world.step();
    let words: Vec<_> = next.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert!(words[0].starts_with("flow key 00000002, which this node was given"), "{words:?}");
    assert!(words[1].starts_with("flow key 00000002 of this node is not that"), "{words:?}");
    assert_eq!(
        (words.len(), world.generations()),
        (2, vec!["1 a1 b2 c3".to_owned()]),
        "it stays: its flows may live"
    );
}
