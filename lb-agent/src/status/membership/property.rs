//! Random histories of joins, deaths, drains, outages, changes of leader: what must hold whatever happens. Above all,
//! that no flow is lost but with its owner: `flows` has the nodes' side of it. The app plays the same with rows as they are.
//!
//! Two leaders at a time are allowed here (an election can only make that rare): what they write is decided by
//! the server, which takes an update only of what it holds.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use proptest::prelude::*;

use self::flows::AnyFunction;
pub(crate) use self::flows::{BUCKETS, Tables};
use self::world::{World, name};
use crate::api::MembershipStep;

mod flows;
mod world;

pub(crate) const NODES: usize = 5;
const LEADERS: usize = 2;
const KEYS: u32 = 3;

/// What may happen, to nodes and leaders by their places.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// So many seconds go by, and living agents renew.
    Pass(u64),
    /// An agent starts, or is ready again.
    Start(usize),
    /// It dies without a word; its Lease stays.
    Die(usize),
    Stop(usize),
    Drain(usize),
    /// It has the newest generation that the server holds.
    Acknowledge(usize),
    Label(usize, bool),
    Cordon(usize, bool),
    Weigh(usize, u32),
    /// All flows of a node end.
    Close(usize),
    /// The API server does not answer any more, or does again: nobody hears anybody.
    Outage(bool),
    /// A leader's watch breaks and is made again.
    Reconnect(usize),
    /// A leader is cut off from the server, alone, or is back.
    Partition(usize, bool),
    /// A new leader takes office beside the other.
    TakeOffice(usize),
    /// A leader reads the history.
    Read(usize),
    /// A leader decides on what it knows, and writes.
    Write(usize),
    /// The agent's wall clock is set to any time.
    SetClock(usize, i64),
    /// A node is given a flow key, or all are.
    Give(usize, u32),
    GiveAll(u32),
}

/// Any of them.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let node = 0..NODES;
    let leader = 0..LEADERS;
    prop_oneof![
        6 => (1_u64..30).prop_map(Event::Pass),
        5 => node.clone().prop_map(Event::Start),
        2 => node.clone().prop_map(Event::Die),
        1 => node.clone().prop_map(Event::Stop),
        1 => node.clone().prop_map(Event::Drain),
        6 => node.clone().prop_map(Event::Acknowledge),
        1 => (node.clone(), any::<bool>()).prop_map(|(at, label)| Event::Label(at, label)),
        2 => (node.clone(), any::<bool>()).prop_map(|(at, cordon)| Event::Cordon(at, cordon)),
        1 => (node.clone(), 0..3_u32).prop_map(|(at, weight)| Event::Weigh(at, weight * 50)),
        2 => node.clone().prop_map(Event::Close),
        1 => any::<bool>().prop_map(Event::Outage),
        1 => leader.clone().prop_map(Event::Reconnect),
        1 => (leader.clone(), any::<bool>()).prop_map(|(at, is_cut_off)| Event::Partition(at, is_cut_off)),
        1 => leader.clone().prop_map(Event::TakeOffice),
        2 => leader.clone().prop_map(Event::Read),
        12 => leader.prop_map(Event::Write),
        2 => (node.clone(), 0..KEYS).prop_map(|(at, key)| Event::Give(at, key)),
        2 => (0..KEYS).prop_map(Event::GiveAll),
        1 => (node, -1_000_000_i64..1_000_000).prop_map(|(at, clock)| Event::SetClock(at, clock)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens(events in proptest::collection::vec(event(), 1..120)) {
        let mut world = World::new(any_function());
        for event in events {
            world.happen(event);
        }
    }

    /// In the end, those that are ready are the members, in one settled generation.
    #[test]
    fn calm_settles(events in proptest::collection::vec(event(), 1..80)) {
        let mut world = World::new(any_function());
        for event in events {
            world.happen(event);
        }
        world.happen(Event::Outage(false));
        (0..LEADERS).for_each(|leader| world.happen(Event::Partition(leader, false)));
        for at in 0..NODES {
            for event in
                [Event::Label(at, true), Event::Cordon(at, false), Event::Weigh(at, 100), Event::Close(at)]
            {
                world.happen(event);
            }
        }
        world.happen(Event::GiveAll(1));
        (0..3).for_each(|at| world.happen(Event::Start(at)));
        (3..NODES).for_each(|at| world.happen(Event::Stop(at)));
        for _ in 0..40 {
            world.happen(Event::Pass(3));
            (0..3).for_each(|at| world.happen(Event::Acknowledge(at)));
            world.happen(Event::Read(0));
            world.happen(Event::Write(0));
        }
        let [generation] = world.history.generations.as_slice() else {
            panic!("one generation, not {:#?}", world.history);
        };
        let names: Vec<_> = generation.members.iter().map(|member| member.name.clone()).collect();
        prop_assert_eq!((generation.step, names), (MembershipStep::Settled, vec![name(0), name(1), name(2)]));
        prop_assert_eq!(generation.flow_key.map(|key| key.0), Some(1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Whoever gets a packet of a flow finds its owner, whatever step each of them is at. A node that comes back does so
    /// after it was put out: before, the others know by their probes that it was away, which is not looked at here.
    #[test]
    fn no_flow_is_lost_but_with_its_owner(events in proptest::collection::vec(event(), 1..160)) {
        no_flow_is_lost(any_function(), events);
    }
}

/// The only member of a generation stops before the node that was it before has switched: flows open there as before.
#[test]
fn who_has_not_switched_learns_of_those_that_come_then() {
    no_flow_is_lost(
        any_function(),
        [
            Event::Start(2),
            Event::Write(0),
            Event::Label(2, false),
            Event::Start(4),
            Event::Write(0),
            Event::Acknowledge(2),
            Event::Read(1),
            Event::Acknowledge(4),
            Event::Write(1),
            Event::Stop(4),
            Event::Start(0),
            Event::Write(1),
            Event::Start(1),
        ],
    );
}

fn any_function() -> Rc<RefCell<dyn Tables>> {
    Rc::new(RefCell::new(AnyFunction))
}

/// Plays events. Whatever they are, every node finds every flow of an owner that lives by these tables.
pub(crate) fn no_flow_is_lost(tables: Rc<RefCell<dyn Tables>>, events: impl IntoIterator<Item = Event>) {
    let mut world = World::new(tables);
    for event in events {
        if let Event::Start(at) = event
            && !world.agents[at].alive
            && (world.is_out || world.is_named(&name(at)))
        {
            continue;
        }
        world.happen(event);
        let alive: BTreeSet<_> = (0..NODES).filter(|at| world.agents[*at].alive).map(name).collect();
        world.flows.check(&alive);
        world.flows.open(&alive);
        world.flows.check(&alive);
        for at in 0..NODES {
            // Told with the next renewal.
            world.agents[at].lease.needed = world.flows.needed(&name(at));
        }
    }
}
