//! What the memberships' steps are, in words: the log's lines of a change from its beginning to its end. Pure.

use std::sync::Arc;

use crate::model::{Generation, Step, changes};

/// Those that all nodes agree on, and what was in force while members were away; each the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) agreed: Vec<Arc<Generation>>,
    pub(super) absences: Vec<Arc<Generation>>,
}

/// What happened between two moments.
pub(super) fn news(before: &Known, now: &Known) -> Vec<String> {
    let steps = now.agreed.iter().filter_map(|generation| step(before, generation));
    let is_over = |one: &&Arc<Generation>| !now.agreed.iter().any(|other| other.number == one.number);
    let retired = before.agreed.iter().filter(is_over).map(|former| {
        format!("membership {} is retired: rows do not name its openers any more", former.number)
    });
    let away = |known: &Known, other: &Known| {
        let is_new = |one: &&Arc<Generation>| !other.absences.contains(one);
        known.absences.iter().filter(is_new).filter_map(|absence| missing(absence, known)).collect::<Vec<_>>()
    };
    let back = away(now, before).into_iter();
    let back =
        back.map(|names| format!("{names} was away: flows that opened elsewhere meanwhile stay there"));
    let forgotten = away(before, now).into_iter();
    let forgotten =
        forgotten.map(|names| format!("flows that opened while {names} was away are looked for no longer"));
    steps.chain(retired).chain(back).chain(forgotten).collect()
}

/// What is new of a generation, compared with what was known of it.
fn step(before: &Known, now: &Arc<Generation>) -> Option<String> {
    let Generation { number, step, members, .. } = &**now;
    let was = before.agreed.iter().find(|was| was.number == *number);
    if let Some(was) = was.filter(|was| was.step == *step) {
        let is_moved = was.members != *members;
        return is_moved.then(|| format!("membership {number}: {}", changes(&was.members, members)));
    }
    let former =
        before.agreed.iter().filter(|former| former.number < *number).max_by_key(|former| former.number);
    let what = former.map(|former| format!(" ({})", difference(former, now))).unwrap_or_default();
    let meaning = match step {
        Step::Learn => "is learned: no flow opens by it yet",
        Step::Switch => "is in force: new flows open by it",
        Step::Settled => "is settled: new flows open by it at all nodes",
    };
    Some(format!("change {number}{what} {meaning}"))
}

fn difference(former: &Generation, now: &Generation) -> String {
    match former.key == now.key {
        true => changes(&former.members, &now.members),
        false if former.members == now.members => "another flow key".to_owned(),
        false => format!("another flow key, {}", changes(&former.members, &now.members)),
    }
}

/// The names of who is in force, but not in this one.
fn missing(absence: &Generation, known: &Known) -> Option<String> {
    let in_force = known.agreed.iter().rev().find(|generation| generation.step >= Step::Switch)?;
    let names = in_force.members.keys().filter(|&name| absence.lacks(name));
    let names: Vec<_> = names.map(String::as_str).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    use super::*;
    use crate::model::Member;

    fn generation(number: u64, step: Step, ids: &[u16]) -> Arc<Generation> {
        let member = |&id: &u16| {
            let (name, address) = (format!("edge-{id}"), IpAddr::from([198, 51, 100, id as u8]));
            (name.clone(), Member { name, id, address, weight: 100 })
        };
        let members = ids.iter().map(member).collect();
        Arc::new(Generation { key: Some(7), ..Generation::new(number, step, members) })
    }

    #[test]
    fn a_change_is_told_from_its_beginning_to_its_end() {
        let first = generation(1, Step::Settled, &[1, 2]);
        let second = |step| generation(2, step, &[1, 2, 3]);
        let known = |agreed: &[&Arc<Generation>], absences: &[&Arc<Generation>]| Known {
            agreed: agreed.iter().map(|&one| Arc::clone(one)).collect(),
            absences: absences.iter().map(|&one| Arc::clone(one)).collect(),
        };
        let [learned, switched, settled] = [Step::Learn, Step::Switch, Step::Settled].map(second);
        let without = Arc::new(Generation { absent: BTreeSet::from([2]), ..Generation::clone(&settled) });
        let with_key = Arc::new(Generation { number: 3, key: Some(8), ..Generation::clone(&settled) });
        let mut before = known(&[&first], &[]);
        for (now, words) in [
            (
                known(&[&first, &learned], &[]),
                vec!["change 2 (edge-3 joins) is learned: no flow opens by it yet"],
            ),
            (
                known(&[&first, &switched], &[]),
                vec!["change 2 (edge-3 joins) is in force: new flows open by it"],
            ),
            (known(&[&first, &switched], &[]), vec![]),
            (
                known(&[&first, &settled], &[]),
                vec!["change 2 (edge-3 joins) is settled: new flows open by it at all nodes"],
            ),
            (known(&[&settled], &[]), vec!["membership 1 is retired: rows do not name its openers any more"]),
            (
                known(&[&settled], &[&without]),
                vec!["edge-2 was away: flows that opened elsewhere meanwhile stay there"],
            ),
            (
                known(&[&settled], &[]),
                vec!["flows that opened while edge-2 was away are looked for no longer"],
            ),
            (
                known(&[&settled, &with_key], &[]),
                vec!["change 3 (another flow key) is settled: new flows open by it at all nodes"],
            ),
        ] {
            assert_eq!(news(&before, &now), words);
            before = now;
        }
    }
}
