//! Where the parts meet: a history told or kept, and members that are down.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::row::Row;

use super::*;

const NOW: Duration = Duration::from_secs(1_000);
const NONE: BTreeSet<MemberId> = BTreeSet::new();

fn generation(number: u64, step: Step, ids: &[MemberId]) -> Arc<Generation> {
    let member = |&id: &MemberId| {
        let name = format!("edge-{id}");
        (name.clone(), Member { name, id, address: IpAddr::V4(Ipv4Addr::LOCALHOST), weight: 100 })
    };
    Arc::new(Generation { number, step, members: ids.iter().map(member).collect() })
}

fn pass(memberships: &mut Memberships, now: Duration) -> bool {
    memberships.advance(Needs { of: &BTreeMap::new(), down: &NONE }, now)
}

fn row(table: &Table, bucket: usize) -> [MemberId; 3] {
    Row::from_bits(table.rows[bucket]).members()
}

#[test]
fn a_history_is_taken_as_it_is_told() {
    let mut memberships = Memberships::default();
    let told = [generation(4, Step::Settled, &[1, 2]), generation(5, Step::Learn, &[1, 2, 3])];
    memberships.observe(&told, &NONE, NOW);
    assert_eq!(memberships.rows(), Arc::new(rows(&told, &NONE, &mut Openers::default())));
    assert_eq!(memberships.members().len(), 3);
    assert!(!pass(&mut memberships, NOW + Duration::from_secs(9)), "its writer takes the steps");
    memberships.observe(&told[..1], &NONE, NOW);
    assert_eq!(memberships.members().len(), 2);
}

#[test]
fn without_one_the_steps_are_taken_here() {
    let mut memberships = Memberships::default();
    memberships.observe(&[generation(0, Step::Settled, &[1])], &NONE, NOW);
    memberships.observe(&[generation(0, Step::Settled, &[2])], &NONE, NOW);
    assert!(memberships.rows().rows.iter().all(|&row| Row::from_bits(row).members() == [1, 2, 0]));
    let due = memberships.due(NOW).expect("a step is due");
    assert!(pass(&mut memberships, due));
    assert!(memberships.rows().rows.iter().all(|&row| Row::from_bits(row).members() == [2, 1, 0]));
    assert_eq!(memberships.members().len(), 2, "the former one is told of, too");
    assert_eq!(memberships.newest().map(|newest| newest.members.len()), Some(1));
    assert_eq!(memberships.opened().iter().map(|opened| opened.number).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn the_next_agent_goes_on_where_the_one_before_ended() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = Some(folder.path().join("memberships.json"));
    let told = |id| [generation(0, Step::Settled, &[id])];
    let mut before = Memberships::restore(file.clone(), NOW);
    before.observe(&told(1), &NONE, NOW);
    before.observe(&told(2), &NONE, NOW);
    assert!(pass(&mut before, NOW + Duration::from_secs(2)));
    let mut after = Memberships::restore(file, NOW + Duration::from_secs(3));
    after.observe(&told(2), &NONE, NOW + Duration::from_secs(3));
    assert_eq!(after.rows(), before.rows());
}

#[test]
fn who_is_down_changes_the_rows_here_and_not_those_agreed() {
    let mut memberships = Memberships::default();
    let told = [generation(1, Step::Settled, &[1, 2])];
    memberships.observe(&told, &NONE, NOW);
    let agreed = memberships.rows();
    memberships.observe(&told, &BTreeSet::from([2]), NOW);
    assert_eq!(memberships.agreed_rows(), agreed);
    assert!(memberships.rows().rows.iter().all(|&row| Row::from_bits(row).opener() == 1));
}

#[test]
fn flows_that_opened_during_an_absence_are_found_after_it() {
    let mut memberships = Memberships::default();
    let told = [generation(1, Step::Settled, &[1, 2, 3])];
    memberships.observe(&told, &NONE, NOW);
    let agreed = memberships.rows();
    memberships.observe(&told, &BTreeSet::from([2]), NOW);
    let during = memberships.rows();
    memberships.observe(&told, &NONE, NOW);
    let after = memberships.rows();
    assert_eq!(memberships.agreed_rows(), agreed);
    for bucket in 0..after.rows.len() {
        assert_eq!(row(&after, bucket)[0], row(&agreed, bucket)[0]);
        assert!(row(&after, bucket).contains(&row(&during, bucket)[0]));
    }
    let bucket = (0..).find(|&bucket| row(&agreed, bucket)[0] == 2).expect("it has a third");
    assert_eq!(row(&after, bucket)[..2], [2, row(&during, bucket)[0]]);
    assert!(pass(&mut memberships, NOW + Duration::from_secs(3600)));
    assert_eq!(memberships.rows(), agreed);
}
