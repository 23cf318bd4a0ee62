//! Who leaves, drains or dies.

use super::*;

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
