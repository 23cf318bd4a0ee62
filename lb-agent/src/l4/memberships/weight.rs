//! Which absences rows name where they have no room for all.

use super::tests::{NOW, generation, heard, memberships, row, sight};
use super::*;

/// As a node sees it that began just before the others: they come back one by one, and each tells for a while that it was
/// away itself.
#[test]
fn what_opened_here_is_found_whatever_else_is_heard() {
    let told = [generation(1, Step::Settled, &[1, 2, 3, 4, 5, 6])];
    let mut memberships = memberships();
    let mut at = |millis, down: &[MemberId], away: &[MemberId]| {
        let down = down.iter().copied().collect();
        let heard = heard(away, Heard { was_away: true, ..Heard::default() });
        let sight = Sight { heard: &heard, ..sight(&down) };
        memberships.observe(&told, sight, NOW + Duration::from_millis(millis));
        memberships.rows()
    };
    at(0, &[], &[]);
    let during = at(100, &[1, 2, 3], &[4]);
    at(200, &[1, 2, 3], &[4, 5, 6]);
    let steps = [
        at(1_100, &[1, 2], &[4, 5, 6]),
        at(1_101, &[2], &[1, 3, 4, 5, 6]),
        at(1_110, &[], &[1, 2, 3, 4, 5, 6]),
        at(1_140, &[], &[1, 2, 3, 4, 5, 6]),
    ];
    for after in steps {
        let is_found = |&bucket: &usize| row(&after, bucket).contains(&row(&during, bucket)[0]);
        assert_eq!((0..after.rows.len()).filter(|bucket| !is_found(bucket)).count(), 0);
    }
}

/// What is new is known for as long as nothing newer comes, however much weighs more.
#[test]
fn a_node_knows_that_it_was_away_whatever_others_were() {
    let told = [generation(1, Step::Settled, &(1..=12).collect::<Vec<_>>())];
    let mut memberships = memberships();
    let mut at = NOW;
    for id in 1..=8 {
        for down in [&[][..], &[id], &[]] {
            at += Duration::from_millis(200);
            memberships.observe(&told, sight(&down.iter().copied().collect()), at);
        }
    }
    assert_eq!(memberships.history().absences.len(), 8);
    assert!(!memberships.was_away("edge-9"));
    let heard = heard(&[1], Heard { takes_for_down: true, ..Heard::default() });
    let none = BTreeSet::new();
    memberships.observe(&told, Sight { heard: &heard, ..sight(&none) }, at);
    assert!(memberships.was_away("edge-9"));
    assert_eq!(memberships.history().absences.len(), 8);
}
