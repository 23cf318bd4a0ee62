//! What must hold of rows whatever the memberships are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use lb_common::row::{BUCKETS, MemberId, NO_MEMBER, Row};
use proptest::prelude::*;

use super::{Openers, rows};
use crate::l4::maglev::{self, Table};
use crate::model::{Generation, Member, Step};

const NONE: BTreeSet<MemberId> = BTreeSet::new();

fn generation(number: u64, step: Step, members: &[(MemberId, u32)]) -> Arc<Generation> {
    let member = |&(id, weight): &(MemberId, u32)| {
        let name = format!("edge-{id}");
        (name.clone(), Member { name, id, address: IpAddr::V4(Ipv4Addr::LOCALHOST), weight })
    };
    Arc::new(Generation::new(number, step, members.iter().map(member).collect()))
}

/// Each with weight 100.
pub(in crate::l4) fn plain(number: u64, step: Step, ids: &[MemberId]) -> Arc<Generation> {
    generation(number, step, &ids.iter().map(|&id| (id, 100)).collect::<Vec<_>>())
}

fn table(generations: &[Arc<Generation>], down: &[MemberId]) -> Table {
    rows(generations, &down.iter().copied().collect(), &mut Openers::default())
}

fn members(row: u64) -> Vec<MemberId> {
    Row::from_bits(row).members().into_iter().filter(|&member| member != NO_MEMBER).collect()
}

fn opener(row: u64) -> MemberId {
    Row::from_bits(row).opener()
}

/// What a generation alone would have, for each bucket.
fn openers(generation: &Generation) -> Box<[MemberId]> {
    maglev::openers(generation.members.values())
}

#[test]
fn one_generation_is_the_golden_table() {
    let one = generation(1, Step::Settled, &[(1, 100), (2, 100), (3, 50)]);
    assert_eq!(table(&[one], &[]).digest, 0x62e3_37fd_0eaf_6b7c, "as in maglev");
}

#[test]
fn a_row_asks_in_the_order_of_the_rule() {
    let (old, before) = (plain(1, Step::Settled, &[1, 2, 3]), plain(2, Step::Settled, &[4, 5, 6]));
    let (force, learn) = (plain(3, Step::Switch, &[7, 8, 9]), plain(4, Step::Learn, &[10, 11]));
    let [a, b, c, d] = [&old, &before, &force, &learn].map(|generation| openers(generation));
    let all = [old, before, force, learn];
    let down = c[0];
    let of = |generations: &[Arc<Generation>], down: &[MemberId]| members(table(generations, down).rows[0]);
    assert_eq!(of(&all[..3], &[]), [c[0], b[0], a[0]]);
    assert_eq!(of(&all, &[]), [c[0], d[0], b[0]]);
    let passed = of(&all, &[down]);
    assert!(passed[0] != down && all[2].members.values().any(|member| member.id == passed[0]));
    assert_eq!(passed[1..], [d[0], b[0]], "who is down has no place before one that is up");
    assert_eq!(of(&all[..3], &[down])[1..], [b[0], a[0]]);
    assert_eq!(of(&all[1..3], &[down])[1..], [b[0], down], "who is down is asked last");
}

#[test]
fn who_is_down_opens_nothing_and_nobody_else_moves() {
    let all = [plain(1, Step::Settled, &[1, 2, 3, 4, 5])];
    let (before, after) = (table(&all, &[]), table(&all, &[2]));
    let mut taken = BTreeMap::new();
    for (&before, &after) in before.rows.iter().zip(&after.rows) {
        if opener(before) == 2 {
            assert_eq!(members(after)[1..], [2], "stalled, it has its flows still");
            *taken.entry(opener(after)).or_insert(0_u32) += 1;
        } else {
            assert_eq!(before, after);
        }
    }
    let share = BUCKETS / 5 / 4;
    assert!(taken.values().all(|&taken| taken.abs_diff(share) < share / 10), "{taken:?}");
}

/// While it was down, only its buckets had other openers.
#[test]
fn who_was_away_has_another_behind_it_and_nobody_else_has() {
    let all = plain(7, Step::Settled, &[1, 2, 3, 4]);
    let without = Arc::new(Generation { absent: BTreeSet::from([2]), ..Generation::clone(&all) });
    let meanwhile = table(std::slice::from_ref(&all), &[2]);
    for (&row, &meanwhile) in table(&[without, all], &[]).rows.iter().zip(&meanwhile.rows) {
        match opener(row) {
            2 => assert_eq!(members(row), [2, opener(meanwhile)]),
            present => assert_eq!(members(row), [present]),
        }
    }
}

/// Six members, of which two were drained one after the other while both had flows that last.
fn two_drained() -> [Arc<Generation>; 3] {
    [(1, 0), (2, 1), (3, 2)].map(|(number, drained)| {
        let members: Vec<_> = (1..=6).map(|id| (id, if id <= drained { 0 } else { 100 })).collect();
        generation(number, Step::Settled, &members)
    })
}

/// Only what the dead one held may break.
#[test]
fn a_death_puts_nobody_who_lives_out_of_a_row() {
    let all = two_drained();
    let opened: Vec<_> = all.iter().map(|generation| openers(generation)).collect();
    for down in 1..=6 {
        let mut left_out = [0; 2];
        for (bucket, &row) in table(&all, &[down]).rows.iter().enumerate() {
            for owner in opened.iter().map(|openers| openers[bucket]).filter(|id| !members(row).contains(id))
            {
                left_out[usize::from(owner == down)] += 1;
            }
        }
        println!("{down} is down: rows leave out {left_out:?}, up and down");
        assert_eq!(left_out[0], 0, "{down} is down");
    }
}

/// What opened in place of the first one stays where it is when the second one dies.
#[test]
fn a_second_death_moves_only_what_the_second_one_had() {
    let all = [plain(1, Step::Settled, &[1, 2, 3, 4, 5, 6])];
    for (first, second) in [(1, 2), (3, 5), (5, 3), (6, 1)] {
        let (one, both) = (table(&all, &[first]), table(&all, &[first, second]));
        let moved = one
            .rows
            .iter()
            .zip(&both.rows)
            .filter(|(one, both)| opener(**one) != second && opener(**one) != opener(**both));
        assert_eq!(moved.count(), 0, "{first}, then {second}");
    }
}

#[test]
fn with_all_down_all_go_on() {
    let all = [plain(1, Step::Settled, &[1, 2])];
    assert_eq!(table(&all, &[1, 2]), table(&all, &[]));
}

#[test]
fn who_drains_opens_nothing_but_keeps_its_place() {
    let before = plain(1, Step::Settled, &[1, 2, 3]);
    let after = generation(2, Step::Switch, &[(1, 100), (2, 0), (3, 100)]);
    let former = openers(&before);
    for (&row, &former) in table(&[before, after], &[]).rows.iter().zip(&former) {
        assert_ne!(opener(row), 2);
        assert!(members(row).contains(&former));
    }
}

#[test]
fn somebody_goes_on_when_all_drain_or_those_who_do_not_are_down() {
    let equal = table(&[plain(1, Step::Settled, &[1, 2])], &[]);
    assert_eq!(table(&[generation(1, Step::Settled, &[(1, 0), (2, 0)])], &[]), equal);
    let drains = table(&[generation(1, Step::Settled, &[(1, 0), (2, 100)])], &[2]);
    assert!(drains.rows.iter().all(|&row| members(row) == [1, 2]));
}

#[test]
fn a_generation_of_nobody_leaves_the_flows_where_they_are() {
    let nobody = plain(2, Step::Switch, &[]);
    assert!(table(std::slice::from_ref(&nobody), &[]).rows.iter().all(|&row| row == 0));
    let before = plain(1, Step::Settled, &[1, 2]);
    assert_eq!(table(&[Arc::clone(&before), nobody], &[]), table(&[before], &[]));
    assert!(table(&[], &[]).rows.iter().all(|&row| row == 0));
}

#[test]
fn what_is_filled_ahead_is_what_is_asked_for() {
    let all = [plain(1, Step::Settled, &[1, 2, 3]), plain(2, Step::Switch, &[1, 2, 3, 4])];
    let mut openers = Openers::default();
    openers.fill_ahead(&all, Some(1));
    let filled = |openers: &Openers| openers.kept.iter().filter(|kept| kept.down.is_empty()).count();
    assert_eq!(filled(&openers), 4, "both memberships, with all and without one");
    for down in [&[][..], &[1]] {
        let ids = down.iter().copied().collect();
        assert_eq!(rows(&all, &ids, &mut openers), table(&all, down));
    }
    assert_eq!(filled(&openers), 4);
}

/// A membership: ids from 1 to 8 with weights, of which some are 0.
fn membership() -> impl Strategy<Value = Vec<(MemberId, u32)>> {
    let weight = prop_oneof![4 => Just(100_u32), 1 => Just(0), 1 => Just(40)];
    let some = prop::collection::vec(prop::option::weighted(0.7, weight), 8);
    some.prop_map(|some| (1..).zip(some).filter_map(|(id, weight)| Some((id, weight?))).collect())
}

fn ids() -> impl Strategy<Value = BTreeSet<MemberId>> {
    prop::collection::btree_set(1_u16..9, 0..3)
}

/// Whether what one first hop opens, another finds, in each bucket, both ways.
fn assert_compatible(one: &Table, other: &Table) {
    for (bucket, (&one, &other)) in one.rows.iter().zip(&other.rows).enumerate() {
        assert!(members(other).contains(&opener(one)), "{bucket}: {:?} {:?}", members(one), members(other));
        assert!(members(one).contains(&opener(other)), "{bucket}: {:?} {:?}", members(one), members(other));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_row_names_each_member_once(of in prop::collection::vec(membership(), 0..4), down in ids()) {
        let all: Vec<_> = (1..).zip(&of).map(|(n, of)| generation(n, Step::Settled, of)).collect();
        let anyone = of.iter().any(|members| !members.is_empty());
        for &row in &rows(&all, &down, &mut Openers::default()).rows {
            let members = members(row);
            prop_assert_eq!(members.iter().collect::<BTreeSet<_>>().len(), members.len());
            prop_assert_eq!(opener(row) != NO_MEMBER, anyone);
            prop_assert_eq!(Row::from_bits(row).bits(), row);
        }
    }

    /// Whatever an agent has computed before.
    #[test]
    fn all_agents_compute_the_same(of in prop::collection::vec((membership(), ids()), 1..4)) {
        let mut used = Openers::default();
        let mut all = Vec::new();
        for (number, (members, down)) in (1..).zip(of) {
            all.push(generation(number, Step::Switch, &members));
            let fresh = rows(&all, &down, &mut Openers::default());
            prop_assert_eq!(rows(&all, &down, &mut used), fresh);
        }
    }

    /// Learn, switch, retire: nodes that are one step apart find each other's flows.
    #[test]
    fn neighbouring_steps_find_each_others_flows(
        old in membership(), before in membership(), after in membership(), down in ids(),
    ) {
        prop_assume!([&old, &before, &after].iter().all(|members| !members.is_empty()));
        let (old, before) = (generation(1, Step::Settled, &old), generation(2, Step::Settled, &before));
        let at = |step| generation(3, step, &after);
        let steps = [
            vec![old.clone(), before.clone()],
            vec![old.clone(), before.clone(), at(Step::Learn)],
            vec![old, before.clone(), at(Step::Switch)],
            vec![before, at(Step::Settled)],
            vec![at(Step::Settled)],
        ];
        let mut openers = Openers::default();
        for down in [&NONE, &down] {
            let tables: Vec<_> = steps.iter().map(|step| rows(step, down, &mut openers)).collect();
            for pair in tables.windows(2) {
                assert_compatible(&pair[0], &pair[1]);
            }
        }
    }

    /// What opened before a member went down is found while it is.
    #[test]
    fn flows_that_opened_before_are_found(members in membership(), down in ids()) {
        prop_assume!(!members.is_empty());
        let one = [generation(1, Step::Settled, &members)];
        let mut openers = Openers::default();
        let (before, after) = (rows(&one, &NONE, &mut openers), rows(&one, &down, &mut openers));
        for (&before, &after) in before.rows.iter().zip(&after.rows) {
            prop_assert!(self::members(after).contains(&opener(before)));
            if !down.contains(&opener(before)) {
                prop_assert_eq!(before, after);
            }
        }
    }
}
