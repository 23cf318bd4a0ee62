//! Where the parts meet: a history told or kept, and members that are down.

use lb_common::row::{NO_MEMBER, Row};

use super::super::rows::rows;
pub(super) use super::super::rows::tests::plain as generation;
use super::*;
use crate::model::Heard;

pub(super) const NOW: Duration = Duration::from_secs(1_000);
static NONE: BTreeSet<MemberId> = BTreeSet::new();

/// The same as it was in force while some were down.
fn absence(of: &Generation, absent: &[MemberId]) -> Arc<Generation> {
    let absent = absent.iter().copied().collect();
    Arc::new(Generation { step: Step::Settled, absent, ..of.clone() })
}

pub(super) const DEADLINE: Duration = Duration::from_secs(3600);
pub(super) static SILENT: BTreeMap<MemberId, Heard> = BTreeMap::new();

pub(super) fn memberships() -> Memberships {
    Memberships::restore(None, DEADLINE, NOW)
}

/// A node that is no member, and has heard nothing.
pub(super) fn sight(down: &BTreeSet<MemberId>) -> Sight<'_> {
    Sight {
        node: "edge-9",
        drains: false,
        alone: false,
        missed: false,
        down,
        heard: &SILENT,
        needed: None,
        roll: None,
    }
}

pub(super) fn heard(ids: &[MemberId], heard: Heard) -> BTreeMap<MemberId, Heard> {
    ids.iter().map(|&id| (id, heard)).collect()
}

pub(super) fn row(table: &Table, bucket: usize) -> [MemberId; 3] {
    Row::from_bits(table.rows[bucket]).members()
}

#[test]
fn a_history_is_taken_as_it_is_told() {
    let mut memberships = memberships();
    let told = [generation(4, Step::Settled, &[1, 2]), generation(5, Step::Learn, &[1, 2, 3])];
    memberships.observe(&told, sight(&NONE), NOW);
    assert_eq!(memberships.rows(), Arc::new(rows(&told, &NONE, &mut Openers::default())));
    assert_eq!(memberships.members().len(), 3);
    let later = NOW + Duration::from_secs(9);
    assert!(!memberships.observe(&told, sight(&NONE), later), "its writer takes the steps");
    memberships.observe(&told[..1], sight(&NONE), NOW);
    assert_eq!(memberships.members().len(), 2);
}

#[test]
fn without_one_the_steps_are_taken_here() {
    let mut memberships = memberships();
    memberships.observe(&[generation(0, Step::Settled, &[1])], sight(&NONE), NOW);
    memberships.observe(&[generation(0, Step::Settled, &[2])], sight(&NONE), NOW);
    assert!(memberships.rows().rows.iter().all(|&row| Row::from_bits(row).members() == [1, 2, 0]));
    let due = memberships.due(NOW).expect("a step is due");
    assert!(memberships.observe(&[generation(0, Step::Settled, &[2])], sight(&NONE), due));
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
    let mut before = Memberships::restore(file.clone(), DEADLINE, NOW);
    before.observe(&told(1), sight(&NONE), NOW);
    before.observe(&told(2), sight(&NONE), NOW);
    assert!(before.observe(&told(2), sight(&NONE), NOW + Duration::from_secs(2)));
    let mut after = Memberships::restore(file, DEADLINE, NOW + Duration::from_secs(3));
    after.observe(&told(2), sight(&NONE), NOW + Duration::from_secs(3));
    assert_eq!(after.rows(), before.rows());
}

/// Members die and come back at random, and agents end at any moment of it: the next one knows all that one knows
/// which never ended, with a history of its own and with one that is told.
#[test]
fn the_next_agent_knows_who_was_away() {
    for number in [0, 5] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = Some(folder.path().join("memberships.json"));
        let told = [generation(number, Step::Settled, &[1, 2, 3, 4])];
        let heard = heard(&[1, 2, 3, 4], Heard { needed: Some([0; 3]), ..Heard::default() });
        let mut random = fastrand::Rng::with_seed(7);
        let mut now = NOW;
        let mut lasting = Memberships::restore(None, DEADLINE, now);
        let mut restarted = Memberships::restore(file.clone(), DEADLINE, now);
        let mut most = 0;
        for step in 0..200 {
            now += Duration::from_millis(random.u64(..4000));
            let down: BTreeSet<MemberId> = (1..=4).filter(|_| random.u8(..3) == 0).collect();
            let sight = Sight { heard: &heard, ..sight(&down) };
            lasting.observe(&told, sight, now);
            restarted.observe(&told, sight, now);
            if random.bool() {
                restarted = Memberships::restore(file.clone(), DEADLINE, now);
                restarted.observe(&told, sight, now);
            }
            let (known, expected) = (restarted.history().absences, lasting.history().absences);
            let is_known = expected.iter().all(|absence| known.contains(absence));
            assert!(is_known, "step {step} of {number}: {known:?}, not {expected:?}");
            assert_eq!(restarted.steps(), lasting.steps());
            most = most.max(expected.len());
        }
        assert!(most > 1, "absences overlap in it");
    }
}

/// Whose packet path went without its agent says so: none of the others may have noticed.
#[test]
fn who_was_away_says_so_and_its_flows_are_looked_for_elsewhere() {
    let told = [generation(5, Step::Settled, &[1, 2, 3])];
    let without = [absence(&told[0], &[2])];
    let calm = Heard { needed: Some([0; 3]), in_force: fingerprint(&told[0]), ..Heard::default() };
    let (all, mut says) = (heard(&[1, 2, 3], calm), heard(&[1, 2, 3], calm));
    says.get_mut(&2).expect("it was heard").was_away = true;
    let mut known = memberships();
    let at = |millis| NOW + Duration::from_millis(millis);
    let mut absences = |heard, millis| {
        known.observe(&told, Sight { heard, ..sight(&NONE) }, at(millis));
        known.history().absences
    };
    assert!(absences(&all, 0).is_empty());
    assert_eq!(absences(&says, 100), without);
    // As long as it says so, and for some time after that.
    assert_eq!(absences(&says, 60_000), without);
    assert_eq!(absences(&all, 64_000), without);
    absences(&all, 66_000);
    assert!(absences(&all, 67_500).is_empty());
    // Who is down says nothing any more.
    let down = BTreeSet::from([2]);
    let mut known = memberships();
    known.observe(&told, Sight { heard: &says, ..sight(&down) }, NOW);
    assert!(known.history().absences.is_empty());
}

#[test]
fn each_member_may_have_been_away_at_one_time() {
    let all = [1, 2, 3, 4];
    let told = [generation(5, Step::Settled, &all)];
    let away = heard(&all, Heard { was_away: true, ..Heard::default() });
    let mut known = memberships();
    known.observe(&told, Sight { heard: &away, ..sight(&NONE) }, NOW);
    known.observe(&told, Sight { heard: &away, ..sight(&NONE) }, NOW + Duration::from_secs(3));
    assert_eq!(known.history().absences.len(), all.len(), "and each once");
    let is_led_on = |&row: &u64| {
        let [opener, other, third] = Row::from_bits(row).members();
        opener != other && other != NO_MEMBER && third == NO_MEMBER
    };
    assert!(known.rows().rows.iter().all(is_led_on));
}

/// The agent ended while a member was down, and begins when it is back: what opened elsewhere is found.
#[test]
fn an_absence_that_ends_without_an_agent_is_known_to_the_next_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = Some(folder.path().join("memberships.json"));
    let told = [generation(3, Step::Settled, &[1, 2, 3])];
    let mut before = Memberships::restore(file.clone(), DEADLINE, NOW);
    before.observe(&told, sight(&NONE), NOW);
    before.observe(&told, sight(&BTreeSet::from([2])), NOW);
    let during = before.rows();
    let mut after = Memberships::restore(file, DEADLINE, NOW);
    after.observe(&told, sight(&NONE), NOW);
    let rows = after.rows();
    assert!((0..rows.rows.len()).all(|bucket| row(&rows, bucket).contains(&row(&during, bucket)[0])));
    assert_eq!(after.agreed_rows(), before.agreed_rows());
}

#[test]
fn who_is_down_changes_the_rows_here_and_not_those_agreed() {
    let mut memberships = memberships();
    let told = [generation(1, Step::Settled, &[1, 2])];
    memberships.observe(&told, sight(&NONE), NOW);
    let agreed = memberships.rows();
    memberships.observe(&told, sight(&BTreeSet::from([2])), NOW);
    assert_eq!(memberships.agreed_rows(), agreed);
    assert!(memberships.rows().rows.iter().all(|&row| Row::from_bits(row).opener() == 1));
}

/// Others may have room for the change already: what they ask a node that joins, and send it, is for it.
#[test]
fn a_node_that_joins_is_one_before_its_rows_have_room() {
    let mut memberships = memberships();
    for ids in [&[1, 2, 3][..], &[1, 2], &[1, 2, 9]] {
        memberships.observe(&[generation(0, Step::Settled, ids)], sight(&NONE), NOW);
    }
    let rows = memberships.rows();
    assert!((0..rows.rows.len()).all(|bucket| !row(&rows, bucket).contains(&9)), "nothing is sent there");
    assert_eq!(memberships.members()["edge-9"].id, 9);
    assert!(memberships.history().members().any(|member| member.id == 9));
    memberships.observe(&[generation(0, Step::Settled, &[1, 2])], sight(&NONE), NOW);
    assert!(!memberships.members().contains_key("edge-9"), "it does not join any more");
}

#[test]
fn flows_that_opened_during_an_absence_are_found_after_it() {
    let mut memberships = memberships();
    let told = [generation(1, Step::Settled, &[1, 2, 3])];
    memberships.observe(&told, sight(&NONE), NOW);
    let agreed = memberships.rows();
    memberships.observe(&told, sight(&BTreeSet::from([2])), NOW);
    let during = memberships.rows();
    memberships.observe(&told, sight(&NONE), NOW);
    let after = memberships.rows();
    assert_eq!(memberships.agreed_rows(), agreed);
    for bucket in 0..after.rows.len() {
        assert_eq!(row(&after, bucket)[0], row(&agreed, bucket)[0]);
        assert!(row(&after, bucket).contains(&row(&during, bucket)[0]));
    }
    let bucket = (0..).find(|&bucket| row(&agreed, bucket)[0] == 2).expect("it has a third");
    assert_eq!(row(&after, bucket)[..2], [2, row(&during, bucket)[0]]);
    assert!(memberships.observe(&told, sight(&NONE), NOW + DEADLINE));
    assert_eq!(memberships.rows(), agreed);
}

/// What is agreed on comes first in rows that have no place for all; and with one former membership less, all have one.
#[test]
fn an_absence_puts_nobody_of_what_is_agreed_on_out_of_a_row() {
    let told: Vec<_> = (1..=3)
        .map(|first| generation(first.into(), Step::Settled, &(first..=6).collect::<Vec<_>>()))
        .collect();
    for told in [&told[..], &told[1..]] {
        let mut memberships = memberships();
        memberships.observe(told, sight(&NONE), NOW);
        let opened: Vec<_> = memberships.opened().into_iter().map(|opened| opened.openers).collect();
        memberships.observe(told, sight(&BTreeSet::from([5])), NOW);
        let during = memberships.rows();
        memberships.observe(told, sight(&NONE), NOW);
        let after = memberships.rows();
        let mut not_found = 0;
        for bucket in 0..after.rows.len() {
            let names = row(&after, bucket);
            assert!(opened.iter().all(|openers| names.contains(&openers[bucket])), "{bucket}: {names:?}");
            not_found += usize::from(!names.contains(&row(&during, bucket)[0]));
        }
        println!("{not_found} openers of meanwhile are not found");
        assert_eq!(not_found > 0, told.len() == 3);
    }
}

/// Who stalled while another one was down has flows in that one's buckets, too.
#[test]
fn what_opened_in_place_of_a_dead_member_is_found_after_a_stall() {
    let told = [generation(1, Step::Settled, &[1, 2, 3, 4])];
    let mut memberships = memberships();
    let mut opened = Vec::new();
    for down in [&[][..], &[2], &[2, 3], &[2], &[]] {
        let down: BTreeSet<MemberId> = down.iter().copied().collect();
        memberships.observe(&told, sight(&down), NOW);
        let rows = memberships.rows();
        for bucket in 0..rows.rows.len() {
            let names = row(&rows, bucket);
            let finds = |before: &Arc<Table>| names.contains(&row(before, bucket)[0]);
            assert!(opened.iter().all(finds), "{bucket} with {down:?} down: {names:?}");
        }
        opened.push(rows);
    }
}

#[test]
fn a_node_that_drains_opens_nothing_without_a_word_of_the_folder() {
    let mut memberships = memberships();
    let told = [generation(0, Step::Settled, &[1, 2])];
    memberships.observe(&told, sight(&NONE), NOW);
    let draining = heard(&[2], Heard { is_draining: true, ..Heard::default() });
    let of = |memberships: &Memberships| {
        let newest = memberships.newest().expect("there is one");
        newest.members.values().map(|member| member.weight).collect::<Vec<_>>()
    };
    memberships.observe(&told, Sight { heard: &draining, ..sight(&NONE) }, NOW);
    assert_eq!(of(&memberships), [100, 0]);
    // Nobody says that it has learned it: it is waited for.
    let later = NOW + Duration::from_secs(10);
    assert!(memberships.observe(&told, Sight { heard: &draining, ..sight(&NONE) }, later));
    assert!(!memberships.history().opens_at("edge-2") && memberships.history().opens_at("edge-1"));
    memberships.observe(&told, sight(&NONE), later);
    assert_eq!(of(&memberships), [100, 0], "the next agent has not heard it yet");
    let calm = heard(&[2], Heard::default());
    memberships.observe(&told, Sight { heard: &calm, ..sight(&NONE) }, later);
    assert_eq!(of(&memberships), [100, 100]);
    let both = Sight { node: "edge-1", drains: true, heard: &draining, ..sight(&NONE) };
    memberships.observe(&told, both, later);
    assert!(!memberships.observe(&told, both, later + Duration::from_secs(4)), "edge-2 has not learned it");
    let print = memberships.learned_print().expect("it is learned");
    let learned = Heard { is_draining: true, needed: Some([7, print, 0]), ..Heard::default() };
    let learned = heard(&[2], learned);
    let both = Sight { heard: &learned, ..both };
    assert!(memberships.observe(&told, both, later + Duration::from_secs(5)));
    assert!(memberships.history().opens_at("edge-2"), "all drain: all go on");
}

/// Two drain at once: one node hears of them one after the other, another one of both.
#[test]
fn a_change_that_another_node_never_learns_is_given_up_for_what_it_learns() {
    let told = [generation(0, Step::Settled, &[1, 2, 3, 4])];
    let drains = |ids: &[MemberId], needed: Option<[u32; 3]>| -> BTreeMap<MemberId, Heard> {
        let said = |id| Heard { is_draining: ids.contains(&id), needed, ..Heard::default() };
        (1..=4).map(|id| (id, said(id))).collect()
    };
    let mut nodes = [3, 4].map(|id| (format!("edge-{id}"), memberships()));
    let mut look = |at: usize, heard: &BTreeMap<MemberId, Heard>, millis| {
        let (node, memberships) = &mut nodes[at];
        memberships.observe(
            &told,
            Sight { node, heard, ..sight(&NONE) },
            NOW + Duration::from_millis(millis),
        );
        let newest = memberships.newest().expect("there is one");
        let drained = newest.members.values().filter(|member| member.weight == 0).count();
        (memberships.learned_print(), drained)
    };
    look(0, &drains(&[], None), 0);
    look(1, &drains(&[], None), 0);
    assert_eq!(look(0, &drains(&[1], None), 50).1, 1);
    let (both, drained) = look(1, &drains(&[1, 2], None), 100);
    assert_eq!(drained, 2);
    assert_eq!(look(0, &drains(&[1, 2], None), 100).1, 1, "it waits for its turn");
    let said = drains(&[1, 2], Some([both.expect("it is learned"), 0, 0]));
    assert_eq!(look(0, &said, 200), (both, 2));
    assert_eq!(look(0, &said, 2_100), (both, 2));
    assert_eq!(look(0, &said, 2_200), (None, 2), "and in force at its time");
}

#[test]
fn who_opens_by_another_membership_needs_it() {
    let mut memberships = memberships();
    let (old, new) = ([generation(0, Step::Settled, &[1, 2])], [generation(0, Step::Settled, &[2])]);
    memberships.observe(&old, sight(&NONE), NOW);
    memberships.observe(&new, sight(&NONE), NOW);
    let switched = NOW + Duration::from_secs(2);
    memberships.observe(&new, sight(&NONE), switched);
    let late = Heard { in_force: fingerprint(&old[0]), needed: Some([0; 3]), ..Heard::default() };
    let says = |heard: &BTreeMap<MemberId, Heard>, memberships: &mut Memberships| {
        for seconds in [5, 6] {
            memberships.observe(
                &new,
                Sight { heard, ..sight(&NONE) },
                switched + Duration::from_secs(seconds),
            );
        }
        memberships.history().agreed.len()
    };
    assert_eq!(says(&heard(&[1, 2], late), &mut memberships), 2);
    let unknown = Heard { needed: None, ..late };
    assert_eq!(says(&heard(&[1, 2], unknown), &mut memberships), 2);
    let done = Heard { in_force: fingerprint(&new[0]), ..late };
    assert_eq!(says(&heard(&[1, 2], done), &mut memberships), 1);
}

#[test]
fn who_was_stalled_may_come_back_with_its_flows() {
    let mut memberships = memberships();
    let (old, new) = ([generation(0, Step::Settled, &[1, 2])], [generation(0, Step::Settled, &[2])]);
    memberships.observe(&old, sight(&NONE), NOW);
    memberships.observe(&new, sight(&NONE), NOW);
    let mut now = NOW + Duration::from_secs(10);
    memberships.observe(&new, sight(&NONE), now);
    let done = heard(&[2], Heard { needed: Some([0; 3]), ..Heard::default() });
    let down = BTreeSet::from([1]);
    let stalled = Sight { heard: &done, ..sight(&down) };
    for seconds in [6, 29] {
        now = NOW + Duration::from_secs(10 + seconds);
        memberships.observe(&new, stalled, now);
        assert_eq!(memberships.history().agreed.len(), 2);
    }
    now = memberships.due(now).expect("it is gone some day");
    memberships.observe(&new, stalled, now);
    now = memberships.due(now).expect("nobody needs it");
    assert!(memberships.observe(&new, stalled, now));
    assert_eq!(memberships.history().agreed.len(), 1);
}

#[test]
fn who_was_taken_for_down_looks_for_flows_at_others() {
    let mut memberships = memberships();
    let told = [generation(1, Step::Settled, &[1, 2, 3])];
    let here = Sight { node: "edge-1", ..sight(&NONE) };
    memberships.observe(&told, here, NOW);
    let agreed = memberships.rows();
    let down = heard(&[2], Heard { takes_for_down: true, ..Heard::default() });
    let told_so = Sight { heard: &down, ..here };
    // Who is cut off hears nobody say it; whose packet path went without its agent knows it before it hears anything.
    for sight in [told_so, Sight { alone: true, ..here }, Sight { missed: true, ..here }] {
        let mut memberships = self::memberships();
        memberships.observe(&told, here, NOW);
        memberships.observe(&told, sight, NOW);
        let after = memberships.rows();
        let ours = (0..).find(|&bucket| row(&agreed, bucket)[0] == 1).expect("it has a third");
        assert_eq!((row(&after, ours)[0], row(&agreed, ours)[1]), (1, 0));
        assert_ne!(row(&after, ours)[1], 0);
    }
}
