//! One flow key takes the place of another.

use super::*;

const A: u32 = 0xa;
const B: u32 = 0xb;
const C: u32 = 0xc;

/// Members a, b and c by key A.
fn world() -> World {
    let mut world = World::settled(&["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        world.write(name, |lease| (lease.key, lease.given_key) = (Some(A), Some(A)));
    }
    world.settle(&["a", "b", "c"]);
    world.check(&["1@a a1 b2 c3"]);
    world
}

impl World {
    /// These were given a key.
    fn give(&mut self, key: u32, names: &[&str]) {
        names.iter().for_each(|name| self.write(name, |lease| lease.given_key = Some(key)));
    }

    /// They go by the key of what is in force.
    fn follow(&mut self, names: &[&str]) {
        let in_force = in_force(&self.history).and_then(|generation| generation.flow_key);
        names.iter().for_each(|name| self.write(name, |lease| lease.key = in_force.map(|key| key.0)));
    }

    fn waiting(&mut self) -> String {
        self.step().waiting.join("; ")
    }

    /// Nodes of which something is said, and what.
    fn told(&mut self) -> Vec<(String, String)> {
        let told = self.step().problems.into_iter();
        told.map(|problem| (problem.object.map(|node| node.name).unwrap_or_default(), problem.message))
            .collect()
    }
}

#[test]
fn a_key_that_all_know_is_learned_and_takes_the_place_of_the_other() {
    let mut world = world();
    world.give(B, &["a", "b"]);
    world.check(&["1@a a1 b2 c3"]);
    assert_eq!(world.waiting(), "flow key 0000000b waits: c was not given it");
    world.give(B, &["c"]);
    world.check(&["1@a a1 b2 c3", "2?@b a1 b2 c3"]);
    let rolls = "flow key 0000000b takes the place of 0000000a: ";
    assert_eq!(world.waiting(), format!("{rolls}a, b, c have not acknowledged generation 2 (Learn)"));
    world.acknowledge(&["a", "b"]);
    world.check(&["1@a a1 b2 c3", "2?@b a1 b2 c3"]);
    world.acknowledge(&["c"]);
    world.check(&["1@a a1 b2 c3", "2!@b a1 b2 c3"]);
    world.follow(&["a", "b", "c"]);
    world.write("b", |lease| (lease.needed, lease.held) = (Some(1), 12));
    world.settle(&["a", "b", "c"]);
    world.check(&["1@a a1 b2 c3", "2@b a1 b2 c3"]);
    assert_eq!(world.waiting(), format!("{rolls}b holds flows of generation 1 (12 connections in all)"));
    world.write("b", |lease| lease.needed = None);
    world.check(&["2@b a1 b2 c3"]);
    assert_eq!((world.waiting(), world.told()), (String::new(), vec![]));
}

#[test]
fn flows_of_a_former_key_have_their_time() {
    let mut world = world();
    world.give(B, &["a", "b", "c"]);
    world.write("b", |lease| lease.needed = Some(1));
    world.settle(&["a", "b", "c"]);
    world.pass(3597, &["a", "b", "c"]);
    world.check(&["1@a a1 b2 c3", "2@b a1 b2 c3"]);
    world.pass(9, &["a", "b", "c"]);
    world.check(&["2@b a1 b2 c3"]);
}

#[test]
fn a_key_that_is_taken_back_before_all_know_it_was_nothing() {
    let mut world = world();
    world.give(B, &["a", "b"]);
    world.check(&["1@a a1 b2 c3"]);
    world.give(A, &["a", "b"]);
    world.check(&["1@a a1 b2 c3"]);
    assert_eq!(world.waiting(), "");
    // Afterwards it is one more roll-over.
    world.give(B, &["a", "b", "c"]);
    world.check(&["1@a a1 b2 c3", "2?@b a1 b2 c3"]);
    world.acknowledge(&["a", "b", "c"]);
    world.give(A, &["a", "b", "c"]);
    world.check(&["1@a a1 b2 c3", "2!@b a1 b2 c3"]);
    assert!(world.waiting().ends_with("; flow key 0000000a waits: generation 2 is not the only one yet"));
    world.settle(&["a", "b", "c"]);
    world.check(&["3@a a1 b2 c3"]);
}

#[test]
fn a_key_that_somebody_cannot_learn_is_given_up() {
    let mut world = world();
    world.give(B, &["a", "b", "c"]);
    world.check(&["1@a a1 b2 c3", "2?@b a1 b2 c3"]);
    world.acknowledge(&["a", "b"]);
    world.give(A, &["c"]);
    world.check(&["1@a a1 b2 c3", "3!@a a1 b2 c3"]);
    world.settle(&["a", "b", "c"]);
    world.check(&["3@a a1 b2 c3"]);
    assert_eq!(world.waiting(), "flow key 0000000b waits: c was not given it");
    world.give(B, &["c"]);
    world.check(&["3@a a1 b2 c3", "4?@b a1 b2 c3"]);
}

#[test]
fn who_does_not_know_a_key_for_long_is_told_and_so_is_who_was_given_a_third() {
    let mut world = world();
    world.give(B, &["a", "b"]);
    assert_eq!(world.told(), []);
    world.pass(9, &["a", "b", "c"]);
    assert_eq!(world.told(), []);
    world.pass(3, &["a", "b", "c"]);
    let [(node, words)] = &world.told()[..] else { panic!("{:?}", world.told()) };
    assert_eq!(node, "c");
    assert!(words.starts_with("flow key 0000000b, which other nodes were given, is not known"), "{words}");
    world.give(C, &["c"]);
    assert_eq!(
        world.waiting(),
        "flow key 0000000b waits: more than one was given (0000000b to a, b and 0000000c to c)"
    );
    // An agent of before keys could change.
    world.give(B, &["c"]);
    world.write("c", |lease| lease.given_key = None);
    world.check(&["1@a a1 b2 c3"]);
    assert_eq!(world.waiting(), "flow key 0000000b waits: c was not given it");
    // During the roll-over a third one has to wait for its turn.
    world.give(B, &["c"]);
    world.check(&["1@a a1 b2 c3", "2?@b a1 b2 c3"]);
    world.acknowledge(&["a", "b", "c"]);
    world.give(C, &["a", "b", "c"]);
    assert!(world.waiting().contains("; flow key 0000000c waits"), "{}", world.waiting());
    world.settle(&["a", "b", "c"]);
    world.check(&["3@c a1 b2 c3"]);
}

#[test]
fn other_changes_wait_but_not_deaths() {
    let mut world = world();
    world.give(B, &["a", "b", "c"]);
    world.check(&["1@a a1 b2 c3", "2?@b a1 b2 c3"]);
    world.nodes.push(node("d", &["198.51.100.4"]));
    world.say("d", AgentState::Ready);
    world.give(B, &["d"]);
    let queued = "change 3 queued (d joins): flow key 0000000b takes the place of 0000000a: ";
    assert!(world.waiting().starts_with(queued), "{}", world.waiting());
    world.check(&["1@a a1 b2 c3", "2?@b a1 b2 c3"]);
    // What is only being learned is given up, and comes again.
    world.say("c", AgentState::Stopped);
    world.check(&["1@a a1 b2 c3", "3!@a a1 b2", "4?@a a1 b2 d4"]);
    world.settle(&["a", "b", "d"]);
    world.check(&["5@b a1 b2 d4"]);
    // What is in force stays so.
    world.give(A, &["a", "b", "d"]);
    world.write("a", |lease| lease.needed = Some(5));
    world.check(&["5@b a1 b2 d4", "6?@a a1 b2 d4"]);
    world.acknowledge(&["a", "b", "d"]);
    world.check(&["5@b a1 b2 d4", "6!@a a1 b2 d4"]);
    world.say("d", AgentState::Stopped);
    world.check(&["5@b a1 b2 d4", "6!@a a1 b2 d4", "7!@a a1 b2"]);
    world.settle(&["a", "b"]);
    world.check(&["5@b a1 b2 d4", "6@a a1 b2 d4", "7@a a1 b2"]);
    world.write("a", |lease| lease.needed = None);
    world.check(&["7@a a1 b2"]);
}

#[test]
fn who_goes_by_another_flow_key_does_not_join() {
    let mut world = world();
    world.nodes.push(node("d", &["198.51.100.4"]));
    world.write("d", |lease| {
        (lease.state, lease.key, lease.given_key) = (AgentState::Ready, Some(B), Some(B))
    });
    let [(node, words)] = &world.told()[..] else { panic!("{:?}", world.told()) };
    assert_eq!(node, "d");
    assert!(words.starts_with("flow key 0000000b of this node is not that"), "{words}");
    world.check(&["1@a a1 b2 c3"]);
    // Given the others' key, it joins.
    world.write("d", |lease| (lease.key, lease.given_key) = (Some(A), Some(A)));
    world.check(&["1@a a1 b2 c3", "2?@a a1 b2 c3 d4"]);
    assert_eq!(world.told(), []);
}

#[test]
fn where_all_lost_the_key_they_begin_anew_by_another() {
    let mut world = world();
    for name in ["a", "b", "c"] {
        // By their own word they lack the one of the history.
        world.write(name, |lease| {
            (lease.state, lease.key, lease.given_key) = (AgentState::Starting, Some(B), Some(B));
        });
    }
    world.check(&["2@b a1 b2 c3"]);
    let mut world = self::world();
    for name in ["a", "b"] {
        world.write(name, |lease| (lease.state, lease.key) = (AgentState::Starting, Some(B)));
    }
    world.check(&["1@a a1 b2 c3", "2!@a c3"]);
}

/// Somebody wrote a key that nobody has into the history.
fn edited() -> World {
    let mut world = world();
    let newest = world.history.generations.last_mut().expect("there is one");
    (newest.number, newest.step, newest.flow_key) = (2, MembershipStep::Switch, Some(FlowKeyPrint(C)));
    world
}

impl World {
    /// They do not believe in it.
    fn doubt(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.write(name, |lease| lease.doubted_key = Some(C)));
    }
}

#[test]
fn a_key_that_nobody_believes_in_takes_nobody_out() {
    // The members go on, one after the other.
    let mut world = edited();
    world.check(&["2!@c a1 b2 c3"]);
    world.doubt(&["b", "a"]);
    world.check(&["2!@c a1 b2 c3"]);
    world.doubt(&["c"]);
    world.check(&["3!@a a1 b2 c3"]);
    // They see that, again one after the other.
    for name in ["a", "b", "c"] {
        world.write(name, |lease| lease.doubted_key = None);
        world.acknowledge(&[name]);
        world.step();
    }
    world.check(&["3@a a1 b2 c3"]);
    // One that knows the key, or has lost its own and begins by it, is right.
    let mut world = edited();
    world.doubt(&["a", "b"]);
    world.write("c", |lease| (lease.key, lease.given_key) = (Some(C), Some(C)));
    world.check(&["2!@c a1 b2 c3"]);
    // One that has waited for it too long holds nobody up, and is out for now.
    world.write("c", |lease| {
        (lease.state, lease.key, lease.given_key) = (AgentState::Starting, Some(A), Some(A));
    });
    world.check(&["3!@a a1 b2 c3", "4!@a a1 b2"]);
}

#[test]
fn what_was_there_before_a_key_that_nobody_believes_in_stays() {
    let all = ["a", "b", "c"];
    let mut world = world();
    let [known] = &world.history.generations[..] else { panic!("{:?}", world.history) };
    let edited = MembershipGeneration { number: 2, flow_key: Some(FlowKeyPrint(C)), ..known.clone() };
    world.history.generations.push(edited);
    world.doubt(&all);
    world.check(&["1@a a1 b2 c3", "3!@a a1 b2 c3"]);
    world.settle(&all);
    world.check(&["3@a a1 b2 c3"]);
    // Flows of a former key, too, which everybody knows.
    let mut world = self::world();
    world.give(B, &all);
    world.write("b", |lease| lease.needed = Some(1));
    world.settle(&all);
    world.follow(&all);
    world.check(&["1@a a1 b2 c3", "2@b a1 b2 c3"]);
    world.history.generations[1].number = 3;
    world.history.generations[1].flow_key = Some(FlowKeyPrint(C));
    world.doubt(&all);
    world.check(&["1@a a1 b2 c3", "4!@b a1 b2 c3"]);
}

#[test]
fn what_came_by_a_key_that_nobody_believes_in_comes_again() {
    let mut world = edited();
    world.nodes.retain(|node| node.name != "a");
    world.check(&["2!@c a1 b2 c3", "3?@c b2 c3"]);
    world.doubt(&["a", "b", "c"]);
    world.check(&["4!@a a1 b2 c3", "5?@a b2 c3"]);
    let mut world = edited();
    world.say("c", AgentState::Starting);
    world.check(&["2!@c a1 b2 c3", "3!@c a1 b2"]);
    world.doubt(&["a", "b"]);
    world.check(&["4!@a a1 b2 c3", "5!@a a1 b2"]);
}

#[test]
fn a_history_of_before_keys_is_filled_in_if_the_server_keeps_it() {
    let mut world = world();
    world.history.generations[0].flow_key = None;
    let Next { history, .. } = world.next_of(true);
    assert_eq!(history.and_then(|history| history.generations[0].flow_key).map(|key| key.0), Some(A));
    assert_eq!(world.next_of(false).history, None);
    world.give(B, &["a", "b", "c"]);
    let Next { history, waiting, .. } = world.next_of(false);
    assert_eq!(history, None);
    assert!(waiting[0].contains("the history keeps no flow keys"), "{waiting:?}");
}

#[test]
fn an_old_history_that_was_put_back_does_not_bring_its_key_back() {
    for (names, expected) in
        [(&["a", "b", "c"][..], &["1@a a1 b2 c3", "42!@b a1 b2 c3"][..]), (&["a", "b"], &["42!@b a1 b2"])]
    {
        let mut world = world();
        let mark = Mark { number: 41, step: Step::Settled, oldest: 41 };
        if names.len() == 2 {
            world.say("c", AgentState::Stopped);
        }
        for name in names {
            world.write(name, |lease| {
                (lease.acknowledged, lease.key, lease.given_key) = (mark, Some(B), Some(B));
            });
        }
        world.step();
        assert_eq!(world.generations(), expected);
        assert_eq!(world.history.check(), Ok(()));
    }
}
