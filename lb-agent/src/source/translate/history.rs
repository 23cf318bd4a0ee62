//! The history of memberships -> generations: the same on all nodes, whatever each of them sees of the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::{EdgeMember, EdgeMembership, FlowKeyPrint, MembershipGeneration, MembershipStep, Nonsense};
use crate::model::{Generation, Kind, Member, ObjectRef, Problem, Step};
use crate::source::Index;

/// The generations of the last good history, the oldest first. Without a history there are none: nobody guesses.
pub(super) fn translate(index: &Index, problems: &mut Vec<Problem>) -> Vec<Arc<Generation>> {
    let history = index.history();
    if let Some(nonsense) = index.nonsense() {
        problems.push(refused(nonsense, history.map(|history| &**history)));
    }
    let generations = history.iter().flat_map(|history| &history.spec.generations);
    generations.map(|generation| Arc::new(translated(generation))).collect()
}

/// All that rows can name: members of any generation by name, as the newest that names them has them.
pub(super) fn members(generations: &[Arc<Generation>]) -> BTreeMap<String, Member> {
    let members = generations.iter().flat_map(|generation| &generation.members);
    members.map(|(name, member)| (name.clone(), member.clone())).collect()
}

fn refused(nonsense: &Nonsense, stays: Option<&EdgeMembership>) -> Problem {
    let newest = stays.and_then(|history| history.spec.generations.last());
    let stays = match newest {
        Some(newest) => format!("generation {} stays in force", newest.number),
        None => "there are no members until it is mended".to_owned(),
    };
    let name = ObjectRef::new(Kind::EdgeMembership, "", EdgeMembership::NAME);
    Problem::error(
        &name,
        nonsense.field.as_str(),
        format!("{}; the history is refused, and {stays}", nonsense.message),
    )
}

fn translated(generation: &MembershipGeneration) -> Generation {
    // When nobody takes new flows, everybody has to go on.
    let is_open = generation.members.iter().any(|member| member.share() > 0);
    let member = |member: &EdgeMember| {
        let weight = if is_open { member.share() } else { member.weight.max(1) };
        let &EdgeMember { id, address, .. } = member;
        (member.name.clone(), Member { name: member.name.clone(), id, address, weight })
    };
    Generation {
        number: generation.number,
        step: step(generation.step),
        members: generation.members.iter().map(member).collect(),
        key: generation.flow_key.map(|FlowKeyPrint(print)| print),
        goes_on: !is_open,
        ..Generation::default()
    }
}

const fn step(step: MembershipStep) -> Step {
    match step {
        MembershipStep::Learn => Step::Learn,
        MembershipStep::Switch => Step::Switch,
        MembershipStep::Settled => Step::Settled,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::model::{Mark, Origin, Snapshot};
    use crate::source::files::parse_text;
    use crate::source::translate::fixture::{NOW, assert_complaints};
    use crate::source::{Membership, Settings, Translator};

    /// The snapshot after these versions of the history, each a list of generations.
    fn after(versions: &[String]) -> Snapshot {
        let settings = Settings { membership: Membership::History, ..Settings::default() };
        let (mut index, mut translator) = (Index::default(), Translator::new(settings));
        for generations in versions {
            let yaml = format!(
                "apiVersion: edgelb.dev/v1alpha1\nkind: EdgeMembership\nmetadata: {{name: edgelb}}\n\
                 spec: {{lastId: 3, generations: [{generations}]}}\n"
            );
            let path = PathBuf::from("test.yaml");
            for (object, line) in parse_text(&path, &yaml).0 {
                index.apply(object, Origin::File { path: path.clone(), line });
            }
        }
        translator.translate(&mut index, NOW)
    }

    /// Generations as `4 Switch b:0 c:100`, members with their weights.
    fn generations(snapshot: &Snapshot) -> Vec<String> {
        let words = |generation: &Arc<Generation>| {
            let members =
                generation.members.values().map(|member| format!(" {}:{}", member.name, member.weight));
            format!("{} {}{}", generation.number, generation.step, members.collect::<String>())
        };
        snapshot.generations.iter().map(words).collect()
    }

    fn generation(number: u64, step: &str, members: &[(&str, u16, &str)]) -> String {
        let member = |&(name, id, state): &(&str, u16, &str)| {
            format!("{{name: {name}, id: {id}, address: 198.51.100.{id}, weight: 100, state: {state}}}")
        };
        let members: Vec<_> = members.iter().map(member).collect();
        format!("{{number: {number}, step: {step}, members: [{}]}}", members.join(", "))
    }

    #[test]
    fn all_generations_are_there_and_all_their_members() {
        let history = [
            generation(3, "Settled", &[("a", 1, "Active"), ("b", 2, "Active")]),
            generation(4, "Switch", &[("b", 2, "Draining"), ("c", 3, "Active")]),
            generation(5, "Learn", &[("c", 3, "Active")]),
        ];
        let snapshot = after(&[history.join(", ")]);
        assert_eq!(generations(&snapshot), ["3 Settled a:100 b:100", "4 Switch b:0 c:100", "5 Learn c:100"]);
        assert_eq!(snapshot.membership, Mark { number: 5, step: Step::Learn, oldest: 3 });
        let members: Vec<_> =
            snapshot.members.values().map(|m| format!("{} {} {}", m.name, m.id, m.address)).collect();
        assert_eq!(members, ["a 1 198.51.100.1", "b 2 198.51.100.2", "c 3 198.51.100.3"]);
        assert_complaints(&snapshot, &[]);
    }

    #[test]
    fn the_newest_word_on_an_address_counts() {
        let moved = "{number: 2, step: Learn, members: [{name: a, id: 1, address: 198.51.100.9, weight: 100, state: Active}]}";
        let snapshot =
            after(&[[generation(1, "Settled", &[("a", 1, "Active")]), moved.to_owned()].join(", ")]);
        assert_eq!(snapshot.members["a"].address.to_string(), "198.51.100.9");
    }

    #[test]
    fn all_go_on_when_all_drain() {
        let history = generation(1, "Settled", &[("a", 1, "Draining"), ("b", 2, "Draining")]);
        let snapshot = after(&[history]);
        assert_eq!(generations(&snapshot), ["1 Settled a:100 b:100"]);
        assert!(snapshot.generations[0].all_drain());
        let history = generation(2, "Settled", &[("a", 1, "Draining"), ("b", 2, "Active")]);
        assert!(!after(&[history]).generations[0].all_drain());
    }

    #[test]
    fn without_a_history_there_are_no_members() {
        for versions in [&[][..], &[String::new()]] {
            let snapshot = after(versions);
            assert!(snapshot.generations.is_empty() && snapshot.members.is_empty());
            assert_eq!(snapshot.membership, Mark::default());
            assert_complaints(&snapshot, &[]);
        }
    }

    #[test]
    fn nonsense_is_named_and_the_last_good_history_stays() {
        let good = generation(7, "Settled", &[("a", 1, "Active")]);
        let twice = generation(8, "Switch", &[("a", 1, "Active"), ("b", 1, "Active")]);
        let back = generation(6, "Settled", &[("a", 1, "Active")]);
        for (bad, problem) in [
            (twice.clone(), "spec.generations[0].members[1].id: 1 is no id"),
            (back, "spec.generations[0].number: it is behind 7 Settled"),
            (String::new(), "spec.generations: they are gone"),
            ("{number: many}".to_owned(), "EdgeMembership edgelb: spec: "),
        ] {
            let snapshot = after(&[good.clone(), bad]);
            assert_eq!(generations(&snapshot), ["7 Settled a:100"], "{problem}");
            assert_complaints(&snapshot, &[problem]);
        }
        let snapshot = after(std::slice::from_ref(&twice));
        assert!(snapshot.generations.is_empty());
        assert_complaints(&snapshot, &["there are no members until it is mended"]);
        let mended = generation(9, "Switch", &[("b", 2, "Active")]);
        let snapshot = after(&[good, twice, mended]);
        assert_eq!(generations(&snapshot), ["9 Switch b:100"]);
        assert_complaints(&snapshot, &[]);
    }
}
