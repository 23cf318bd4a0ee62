//! A node whose agent is silent goes by rows of its own; when it is back, its rows lead to what opened by those.

use std::collections::BTreeSet;
use std::time::Duration;

use lb_common::row::Row;

use super::super::maglev::Table;
use super::Sight;
use super::tests::{NOW, generation, memberships, row, sight};
use crate::model::Step;

/// Whether rows name all members at which edge-1's own packet path opened its flows while it went by `stand_in`.
fn lead(rows: &Table, stand_in: &Table, before: &Table) -> bool {
    let mut ours = (0..before.rows.len()).filter(|&bucket| row(before, bucket)[0] == 1);
    ours.all(|bucket| row(rows, bucket).contains(&row(stand_in, bucket)[0]))
}

#[test]
fn rows_lead_to_what_its_own_packet_path_opened_elsewhere() {
    use Step::{Learn, Settled, Switch};
    for (told, down) in [
        (vec![generation(1, Settled, &[1, 2])], &[][..]),
        (vec![generation(1, Settled, &[1, 2, 3])], &[]),
        (vec![generation(1, Settled, &[1, 2, 3])], &[3]),
        (vec![generation(1, Settled, &[1, 2, 3, 4, 5])], &[2, 4]),
        (vec![generation(1, Settled, &[1, 2, 3]), generation(2, Learn, &[1, 2, 3, 4])], &[]),
        (vec![generation(1, Settled, &[1, 2, 3]), generation(2, Switch, &[1, 2, 3, 4])], &[]),
        (vec![generation(1, Settled, &[1, 2, 3, 4]), generation(2, Switch, &[1, 2, 3])], &[]),
    ] {
        let down = down.iter().copied().collect();
        let here = Sight { node: "edge-1", ..sight(&down) };
        let mut memberships = memberships();
        memberships.observe(&told, here, NOW);
        let (before, stand_in) = (memberships.rows(), memberships.stand_in(Some(1)));
        assert!(!lead(&before, &stand_in, &before), "{told:?} {down:?}: rows of before do not");
        memberships.observe(&told, Sight { missed: true, ..here }, NOW);
        assert!(lead(&memberships.rows(), &stand_in, &before), "{told:?} {down:?}");
        memberships.observe(&told, here, NOW + Duration::from_secs(3));
        assert!(
            lead(&memberships.rows(), &stand_in, &before),
            "{told:?} {down:?}: nor when it gives signs again"
        );
    }
}

#[test]
fn who_has_nobody_to_stand_in_for_it_goes_on_by_its_own_rows() {
    let none = BTreeSet::new();
    for (members, down) in [(&[1][..], &[][..]), (&[1, 2, 3], &[2, 3])] {
        let (told, down) = ([generation(1, Step::Settled, members)], down.iter().copied().collect());
        let here = Sight { node: "edge-1", missed: true, ..sight(&down) };
        let mut memberships = memberships();
        memberships.observe(&told, here, NOW);
        let (rows, stand_in) = (memberships.rows(), memberships.stand_in(Some(1)));
        assert!(stand_in.rows.iter().all(|&row| Row::from_bits(row).members()[0] == 1), "{members:?}");
        assert_eq!(stand_in, rows);
        // A node that is no member stands in for nobody.
        memberships.observe(&told, sight(&none), NOW);
        assert_eq!(memberships.stand_in(None), memberships.rows());
    }
}

#[test]
fn together_both_tables_are_what_each_is_alone() {
    use Step::{Settled, Switch};
    for (told, down) in [
        (vec![generation(1, Settled, &[1])], &[][..]),
        (vec![generation(1, Settled, &[1, 2, 3])], &[]),
        (vec![generation(1, Settled, &[1, 2, 3]), generation(2, Switch, &[2, 3, 4])], &[]),
        (vec![generation(1, Settled, &[1, 2, 3])], &[2]),
    ] {
        let down = down.iter().copied().collect();
        let observed = || {
            let mut memberships = memberships();
            memberships.observe(&told, Sight { node: "edge-1", ..sight(&down) }, NOW);
            memberships
        };
        assert_eq!(observed().tables(Some(1)), [observed().rows(), observed().stand_in(Some(1))]);
    }
}
