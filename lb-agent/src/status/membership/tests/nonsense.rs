//! Histories that are gone, old, or make no sense.

use super::*;

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
