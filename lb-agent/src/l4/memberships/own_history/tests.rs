//! The history by its clock.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use lb_common::row::MemberId;

use super::super::former::LEAST;
use super::*;
use crate::l4::rows::fingerprint;

const SECOND: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(3600);
const START: Duration = Duration::from_secs(1_000);

fn members(ids: &[MemberId]) -> Members {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let member = |&id: &MemberId| {
        (format!("edge-{id}"), Member { name: format!("edge-{id}"), id, address, weight: 100 })
    };
    ids.iter().map(member).collect()
}

/// A history at its clock.
struct Test {
    history: OwnHistory,
    now: Duration,
    of: BTreeMap<MemberId, BTreeSet<u32>>,
    gone: BTreeSet<MemberId>,
    /// Who has learned what comes next; all, if it is not said.
    knowing: Option<BTreeSet<MemberId>>,
    absences: Option<usize>,
}

impl Test {
    /// With these members in force.
    fn new(ids: &[MemberId]) -> Self {
        let (of, gone) = (BTreeMap::new(), BTreeSet::new());
        let history = OwnHistory::default();
        let mut test = Self { history, now: START, of, gone, knowing: None, absences: Some(0) };
        test.observe(ids);
        test
    }

    fn observe(&mut self, ids: &[MemberId]) {
        self.history.observe(&members(ids), self.absences, self.now);
    }

    fn pass(&mut self, time: Duration) -> bool {
        self.now += time;
        let (of, gone, knowing) = (&self.of, &self.gone, self.knowing.as_ref());
        self.history.advance(Needs { of, gone, knowing, deadline: DEADLINE }, self.absences, self.now)
    }

    fn queued(&self) -> Option<(String, Vec<String>)> {
        self.history.queued(Needs { of: &self.of, gone: &self.gone, knowing: None, deadline: DEADLINE })
    }

    fn due(&self) -> Option<Duration> {
        self.history.due(DEADLINE, self.now)
    }

    /// `step: ids`, the oldest first.
    #[track_caller]
    fn check(&self, expected: &[(Step, &[MemberId])]) {
        let found = self.history.generations();
        let found: Vec<_> = found
            .iter()
            .map(|generation| {
                let ids: Vec<_> = generation.members.values().map(|member| member.id).collect();
                (generation.step, ids)
            })
            .collect();
        assert_eq!(found, expected.iter().map(|(step, ids)| (*step, ids.to_vec())).collect::<Vec<_>>());
        let numbers: Vec<_> = self.history.generations().iter().map(|generation| generation.number).collect();
        assert!(numbers.is_sorted() && !numbers.contains(&0), "{numbers:?}");
    }

    /// All the members say that they need only these.
    fn say(&mut self, ids: &[MemberId], needed: &[&[MemberId]]) {
        let needed: BTreeSet<_> =
            needed.iter().map(|ids| fingerprint(&generation(0, Settled, &members(ids)))).collect();
        self.of = ids.iter().map(|&id| (id, needed.clone())).collect();
    }
}

use Step::{Learn, Settled, Switch};

#[test]
fn the_first_membership_is_in_force_at_once() {
    let test = Test::new(&[1, 2]);
    test.check(&[(Settled, &[1, 2])]);
    assert_eq!(test.due(), None);
}

#[test]
fn a_change_is_learned_then_in_force_and_the_one_before_stays() {
    let mut test = Test::new(&[1, 2]);
    test.observe(&[1, 2, 3]);
    test.check(&[(Settled, &[1, 2]), (Learn, &[1, 2, 3])]);
    assert_eq!(test.due(), Some(START + LEARN));
    assert!(!test.pass(LEARN - SECOND));
    test.check(&[(Settled, &[1, 2]), (Learn, &[1, 2, 3])]);
    assert!(test.pass(SECOND));
    test.check(&[(Settled, &[1, 2]), (Switch, &[1, 2, 3])]);
    assert!(!test.pass(SECOND));
}

#[test]
fn a_change_is_in_force_when_all_have_learned_it_who_are_not_gone() {
    let mut test = Test::new(&[1, 2, 3]);
    test.observe(&[1, 2, 4]);
    test.knowing = Some(BTreeSet::from([1, 2, 4]));
    assert!(!test.pass(LEARN) && !test.pass(SECOND));
    // Who leaves gets packets still.
    test.check(&[(Settled, &[1, 2, 3]), (Learn, &[1, 2, 4])]);
    test.knowing = Some(BTreeSet::from([1, 2, 3, 4]));
    assert!(test.pass(SECOND));
    test.check(&[(Settled, &[1, 2, 3]), (Switch, &[1, 2, 4])]);
    test.observe(&[1, 2]);
    test.knowing = Some(BTreeSet::from([1, 3]));
    assert!(!test.pass(LEARN));
    assert_eq!(test.due(), Some(test.now + LEAST - LEARN));
    test.gone = BTreeSet::from([2, 4]);
    assert!(test.pass(SECOND));
    test.observe(&[1, 2, 3]);
    let silent = |test: &mut Test| {
        test.history.former.clear();
        test.history.advance(
            Needs {
                of: &test.of,
                gone: &BTreeSet::new(),
                knowing: Some(&BTreeSet::new()),
                deadline: DEADLINE,
            },
            Some(0),
            test.now,
        )
    };
    assert!(silent(&mut test), "it is learned once there is room");
    test.now += LONGEST - SECOND;
    assert!(!silent(&mut test));
    test.now += SECOND;
    assert!(silent(&mut test), "nobody is waited for so long");
}

#[test]
fn further_changes_wait_and_merge() {
    let mut test = Test::new(&[1]);
    test.observe(&[1, 2]);
    test.observe(&[1, 2, 3]);
    test.observe(&[1, 2, 3, 4]);
    test.check(&[(Settled, &[1]), (Learn, &[1, 2])]);
    assert!(test.pass(LEARN));
    test.check(&[(Settled, &[1]), (Switch, &[1, 2]), (Learn, &[1, 2, 3, 4])]);
    // Taken back before its turn came.
    test.observe(&[1]);
    test.observe(&[1, 2, 3, 4]);
    assert!(test.pass(LEARN));
    test.check(&[(Settled, &[1]), (Settled, &[1, 2]), (Switch, &[1, 2, 3, 4])]);
}

#[test]
fn a_change_waits_while_flows_need_two_former_ones() {
    let mut test = Test::new(&[1]);
    for ids in [&[1, 2][..], &[1, 2, 3]] {
        test.observe(ids);
        assert!(test.pass(LEARN));
    }
    test.say(&[1, 2, 3], &[&[1], &[1, 2]]);
    test.observe(&[2, 3]);
    test.observe(&[3]);
    assert!(!test.pass(LEAST));
    test.check(&[(Settled, &[1]), (Settled, &[1, 2]), (Switch, &[1, 2, 3])]);
    let words = ["edge-1 holds flows of membership 1", "edge-1, edge-2 holds flows of membership 2"];
    let change = "change 4 queued (edge-1 leaves, edge-2 leaves)".to_owned();
    assert_eq!(test.queued(), Some((change, words.map(str::to_owned).to_vec())));
    test.say(&[1, 2, 3], &[&[1, 2]]);
    assert!(!test.pass(SECOND) && test.pass(SECOND));
    test.check(&[(Settled, &[1, 2]), (Switch, &[1, 2, 3]), (Learn, &[3])]);
    assert_eq!(test.queued(), None);
}

#[test]
fn a_change_waits_while_rows_have_to_name_those_of_absences() {
    let mut test = Test::new(&[1, 2]);
    test.absences = Some(2);
    test.observe(&[2]);
    assert!(!test.pass(SECOND) && test.queued().is_some());
    test.absences = Some(1);
    assert!(test.pass(SECOND));
    test.check(&[(Settled, &[1, 2]), (Learn, &[2])]);
}

#[test]
fn a_node_that_cannot_know_what_flows_need_does_not_wait() {
    let mut test = Test::new(&[1]);
    test.absences = None;
    for ids in [&[1, 2][..], &[1, 2, 3], &[1, 2, 3, 4]] {
        test.observe(ids);
        assert!(test.pass(LEARN));
    }
    test.check(&[(Settled, &[1, 2]), (Settled, &[1, 2, 3]), (Switch, &[1, 2, 3, 4])]);
}

#[test]
fn what_is_in_force_again_is_no_former_one() {
    let mut test = Test::new(&[1, 2]);
    for ids in [&[1][..], &[1, 2]] {
        test.observe(ids);
        assert!(test.pass(LEARN));
    }
    test.check(&[(Settled, &[1]), (Switch, &[1, 2])]);
}

#[test]
fn a_former_one_goes_when_all_its_members_say_that_they_need_it_no_more() {
    let mut test = Test::new(&[1, 2]);
    test.observe(&[2, 3]);
    test.pass(LEARN);
    test.say(&[1, 2, 3], &[]);
    assert!(!test.pass(LEAST - SECOND), "what they say may be older than the change");
    test.say(&[1, 2, 3], &[&[1, 2]]);
    assert!(!test.pass(SECOND));
    test.say(&[2, 3], &[]);
    assert!(!test.pass(SECOND), "nothing is known of the one that left");
    test.say(&[1, 2], &[&[2, 3]]);
    assert!(!test.pass(SECOND), "others are to hear it, too");
    assert!(test.pass(SECOND));
    test.check(&[(Settled, &[2, 3])]);
}

#[test]
fn who_is_gone_is_not_waited_for() {
    let mut test = Test::new(&[1, 2]);
    test.observe(&[2]);
    test.pass(LEARN);
    test.say(&[2], &[]);
    assert!(!test.pass(LEAST));
    test.gone.insert(1);
    assert!(!test.pass(SECOND) && test.pass(SECOND));
    test.check(&[(Settled, &[2])]);
}

#[test]
fn a_former_one_goes_at_its_deadline() {
    let mut test = Test::new(&[1, 2]);
    test.observe(&[2]);
    test.pass(LEARN);
    assert_eq!(test.due(), Some(test.now + LEAST));
    assert!(!test.pass(DEADLINE - SECOND));
    assert_eq!(test.due(), Some(test.now + SECOND));
    assert!(test.pass(SECOND));
    test.check(&[(Settled, &[2])]);
    assert_eq!(test.due(), None);
}

#[test]
fn another_address_is_no_change_of_rows() {
    let mut test = Test::new(&[1]);
    let mut moved = members(&[1]);
    let address = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    moved.values_mut().for_each(|member| member.address = address);
    test.history.observe(&moved, Some(0), test.now);
    test.check(&[(Settled, &[1])]);
    assert_eq!(test.history.generations()[0].members, moved);
}
