//! One flow key takes the place of another where nobody writes a history for all: each node learns the key that it was
//! given, goes by it once all others say that they have learned it, too, and gives the former one up when no node says that
//! its flows need it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lb_common::row::MemberId;

use crate::model::{Heard, KeyPrints, Roll};

/// So long a former key stays whatever nodes say: sockets are counted each second, and what was counted is heard then.
const LEAST: Duration = Duration::from_secs(5);

/// What a node knows of the others at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The other members' names.
    pub others: &'a BTreeMap<MemberId, String>,
    /// What they said last.
    pub heard: &'a BTreeMap<MemberId, Heard>,
    /// Those that are down for so long that they hold nothing any more.
    pub gone: &'a BTreeSet<MemberId>,
    /// Whether rows are of one membership: a key takes a place in them, too.
    pub is_quiet: bool,
    /// Whether flows of this node need the other key, if that is known.
    pub needs_other: Option<bool>,
    /// So long a former key stays although it is needed.
    pub deadline: Duration,
}

/// What becomes of the keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stepped {
    /// They.
    pub keys: KeyPrints,
    /// What the other one is there for.
    pub roll: Option<Roll>,
    /// What the next step waits for, in words.
    pub waits: Option<String>,
}

/// A roll-over on its way. `now` is always of a clock that never goes back.
#[derive(Debug, Default)]
pub struct RollOver {
    /// Since when a key is there that is to go.
    former: Option<(u32, Duration)>,
}

impl RollOver {
    /// Takes the step that is due, if one is.
    pub fn step(&mut self, keys: KeyPrints, given: Option<u32>, sight: Sight<'_>, now: Duration) -> Stepped {
        let KeyPrints { in_force, other } = keys;
        let Some(other) = other else {
            self.former = None;
            return learn(keys, given.filter(|&given| given != in_force), sight);
        };
        if target(keys, other, given, sight) == other {
            self.former = None;
            return self.switch(in_force, other, sight, now);
        }
        self.retire(in_force, other, sight, now)
    }

    fn switch(&mut self, in_force: u32, other: u32, sight: Sight<'_>, now: Duration) -> Stepped {
        let has_begun = sight.heard.values().any(|heard| heard.key == other);
        let lacking = names(sight, |heard| heard.key == other || says(heard, other));
        let waits = match lacking.as_slice() {
            [] if sight.is_quiet || has_begun => {
                self.former = Some((in_force, now));
                let keys = KeyPrints { in_force: other, other: Some(in_force) };
                return Stepped { keys, roll: Some(Roll::Goes), waits: None };
            }
            [] => "the members change".to_owned(),
            names => format!("{} has not told this node that it knows it", names.join(", ")),
        };
        let keys = KeyPrints { in_force, other: Some(other) };
        Stepped { keys, roll: Some(Roll::Comes), waits: Some(waits) }
    }

    fn retire(&mut self, in_force: u32, other: u32, sight: Sight<'_>, now: Duration) -> Stepped {
        let since = match self.former {
            Some((former, since)) if former == other => since,
            _ => now,
        };
        self.former = Some((other, since));
        let needing =
            names(sight, |heard| heard.key == in_force && heard.needed.is_some() && !says(heard, other));
        let is_free = needing.is_empty() && sight.needs_other == Some(false) && now >= since + LEAST;
        if is_free || now >= since + sight.deadline {
            self.former = None;
            return Stepped { keys: KeyPrints { in_force, other: None }, roll: None, waits: None };
        }
        let own = (sight.needs_other != Some(false)).then(|| "this node".to_owned());
        let all: Vec<_> = own.into_iter().chain(needing).collect();
        let waits = (!all.is_empty()).then(|| format!("{} may hold some", all.join(", ")));
        Stepped { keys: KeyPrints { in_force, other: Some(other) }, roll: Some(Roll::Goes), waits }
    }
}

/// A key that was given is known to the packet path at once, if rows have room for it: nothing opens by it yet.
fn learn(keys: KeyPrints, given: Option<u32>, sight: Sight<'_>) -> Stepped {
    match given {
        Some(_) if sight.is_quiet => {
            Stepped { keys: KeyPrints { other: given, ..keys }, roll: Some(Roll::Comes), waits: None }
        }
        Some(_) => Stepped { keys, roll: None, waits: Some("the members change".to_owned()) },
        None => Stepped { keys, roll: None, waits: None },
    }
}

/// The key that is to be in force in the end. Who was given a third one meanwhile goes with the others; if they
/// disagree, all take the same one of the two.
fn target(keys: KeyPrints, other: u32, given: Option<u32>, sight: Sight<'_>) -> u32 {
    match given {
        Some(given) if given == keys.in_force || given == other => given,
        _ if sight.heard.values().any(|heard| heard.key == other) => keys.in_force.max(other),
        _ => keys.in_force,
    }
}

/// Those of which this is not known, but for those that are gone.
fn names(sight: Sight<'_>, holds: impl Fn(&Heard) -> bool) -> Vec<String> {
    let others = sight.others.iter().filter(|(id, _)| !sight.gone.contains(id));
    let lacking = others.filter(|(id, _)| !sight.heard.get(id).is_some_and(&holds));
    lacking.map(|(_, name)| name.clone()).collect()
}

/// Whether a member says that it has learned a key, or needs it: it has it then.
fn says(heard: &Heard, key: u32) -> bool {
    heard.needed.is_some_and(|needed| needed.contains(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u32 = 0xa;
    const B: u32 = 0xb;
    const C: u32 = 0xc;
    const DEADLINE: Duration = Duration::from_secs(3600);

    /// A node, with what it says.
    struct Node {
        keys: KeyPrints,
        given: u32,
        needs: bool,
        roll: Option<Roll>,
        waits: Option<String>,
        rolls: RollOver,
    }

    impl Node {
        fn heard(&self) -> Heard {
            let other = self.keys.other.filter(|_| self.roll == Some(Roll::Comes) || self.needs);
            Heard { key: self.keys.in_force, needed: Some([other.unwrap_or(0), 0, 0]), ..Heard::default() }
        }
    }

    struct World(Vec<Node>);

    impl World {
        fn new(nodes: usize) -> Self {
            let node = |_| Node {
                keys: KeyPrints { in_force: A, other: None },
                given: A,
                needs: false,
                roll: None,
                waits: None,
                rolls: RollOver::default(),
            };
            Self((0..nodes).map(node).collect())
        }

        /// One node looks at the others.
        fn step(&mut self, at: usize, second: u64) {
            let id = |at: usize| at as MemberId + 1;
            let heard: BTreeMap<_, _> = (0..self.0.len())
                .filter(|&other| other != at)
                .map(|other| (id(other), self.0[other].heard()))
                .collect();
            let others = heard.keys().map(|id| (*id, format!("edge-{id}"))).collect();
            let node = &mut self.0[at];
            let sight = Sight {
                others: &others,
                heard: &heard,
                gone: &BTreeSet::new(),
                is_quiet: true,
                needs_other: Some(node.needs),
                deadline: DEADLINE,
            };
            let now = Duration::from_secs(1000 + second);
            let stepped = node.rolls.step(node.keys, Some(node.given), sight, now);
            (node.keys, node.roll, node.waits) = (stepped.keys, stepped.roll, stepped.waits);
            // Each takes what each other one sends, whatever step both are at.
            for one in &self.0 {
                for other in &self.0 {
                    let known = [Some(one.keys.in_force), one.keys.other];
                    assert!(
                        known.contains(&Some(other.keys.in_force)),
                        "{:?} hears {:?}",
                        one.keys,
                        other.keys
                    );
                }
            }
        }

        fn settle(&mut self, from: u64) {
            for second in from..from + 20 {
                (0..self.0.len()).for_each(|at| self.step(at, second));
            }
        }

        fn keys(&self) -> Vec<(u32, Option<u32>)> {
            self.0.iter().map(|node| (node.keys.in_force, node.keys.other)).collect()
        }
    }

    #[test]
    fn a_key_comes_when_all_know_it_and_the_former_one_goes_when_none_needs_it() {
        let mut world = World::new(3);
        world.0[..2].iter_mut().for_each(|node| node.given = B);
        world.settle(0);
        assert_eq!(world.keys(), [(A, Some(B)), (A, Some(B)), (A, None)]);
        assert_eq!(world.0[0].waits.as_deref(), Some("edge-3 has not told this node that it knows it"));
        world.0[2].given = B;
        world.0[1].needs = true;
        world.settle(20);
        assert_eq!(world.keys(), [(B, Some(A)); 3]);
        assert_eq!(world.0[0].waits.as_deref(), Some("edge-2 may hold some"));
        assert_eq!(world.0[1].waits.as_deref(), Some("this node may hold some"));
        world.0[1].needs = false;
        world.settle(40);
        assert_eq!(world.keys(), [(B, None); 3]);
    }

    #[test]
    fn what_is_taken_back_in_time_was_nothing_and_a_third_key_has_to_wait() {
        let mut world = World::new(2);
        world.0[0].given = B;
        world.settle(0);
        world.0[0].given = A;
        world.settle(20);
        assert_eq!(world.keys(), [(A, None); 2]);
        world.0.iter_mut().for_each(|node| node.given = B);
        (0..2).for_each(|at| world.step(at, 40));
        world.0.iter_mut().for_each(|node| node.given = C);
        world.settle(41);
        assert!(world.keys().iter().all(|keys| keys.0 == C), "{:?}", world.keys());
        world.settle(61);
        assert_eq!(world.keys(), [(C, None); 2]);
    }

    /// Keys are given at random, and nodes look at each other in any order.
    #[test]
    fn nobody_ever_sends_what_another_refuses() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut world = World::new(random.usize(1..5));
            for second in 0..200 {
                let at = random.usize(..world.0.len());
                match random.u8(..10) {
                    0 => world.0[at].given = [A, B, C][random.usize(..3)],
                    1 => {
                        let given = [A, B, C][random.usize(..3)];
                        world.0.iter_mut().for_each(|node| node.given = given);
                    }
                    2 => world.0[at].needs ^= true,
                    _ => {}
                }
                world.step(at, second);
            }
            world.0.iter_mut().for_each(|node| (node.given, node.needs) = (B, false));
            world.settle(200);
            world.settle(220);
            assert_eq!(world.keys(), vec![(B, None); world.0.len()], "seed {seed}");
        }
    }
}
