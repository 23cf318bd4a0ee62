//! The history of memberships -> members: the same on all nodes, whatever each of them sees of the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{EdgeMember, MemberState, MembershipGeneration};
use crate::model::{Member, Problem};
use crate::source::Index;

/// The newest generation's number and members by name. Without a history there are none: nobody guesses.
pub(super) fn translate(index: &Index, problems: &mut Vec<Problem>) -> (u64, BTreeMap<String, Member>) {
    let Some((name, history)) = index.edge_membership() else { return (0, BTreeMap::new()) };
    let generations = &history.spec.generations;
    let Some((at, newest)) = generations.iter().enumerate().max_by_key(|(_, generation)| generation.number)
    else {
        return (0, BTreeMap::new());
    };
    let field = |rest: &str| format!("spec.generations[{at}]{rest}");
    if let Err((rest, message)) = check(newest) {
        problems.push(Problem::error(name, field(&rest), message));
        return (0, BTreeMap::new());
    }
    // When nobody takes new flows, everybody has to go on.
    let is_open = newest.members.iter().any(|member| weight(member) > 0);
    let member = |member: &EdgeMember| {
        let weight = if is_open { weight(member) } else { member.weight.max(1) };
        let &EdgeMember { id, address, .. } = member;
        (member.name.clone(), Member { name: member.name.clone(), id, address, weight })
    };
    (newest.number, newest.members.iter().map(member).collect())
}

/// The member's share of new flows.
fn weight(member: &EdgeMember) -> u32 {
    match member.state {
        MemberState::Active => member.weight,
        MemberState::Draining => 0,
    }
}

/// The field and what is wrong with it, of a history that somebody wrote by hand.
fn check(generation: &MembershipGeneration) -> Result<(), (String, String)> {
    let (mut names, mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (at, member) in generation.members.iter().enumerate() {
        let bad = |field: &str, message: String| Err((format!(".members[{at}].{field}"), message));
        if !names.insert(&member.name) {
            return bad("name", format!("there are two members {:?}: there are none now", member.name));
        }
        if member.id == 0 || !ids.insert(member.id) {
            return bad("id", format!("{} is no id, or that of two members: there are none now", member.id));
        }
        if !addresses.insert(member.address) {
            return bad("address", format!("two members have {}: there are none now", member.address));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::source::translate::fixture::{assert_complaints, snapshot};
    use crate::source::{Membership, Settings};

    /// Members as `name id address weight`.
    #[track_caller]
    fn check(generations: &str, expected: (u64, &[&str]), problems: &[&str]) {
        let yaml = format!(
            "apiVersion: edgelb.dev/v1alpha1\nkind: EdgeMembership\nmetadata: {{name: edgelb}}\n\
             spec: {{lastId: 3, generations: [{generations}]}}\n"
        );
        let settings = Settings { membership: Membership::History, ..Settings::default() };
        let snapshot = snapshot(&yaml, &settings);
        let found: Vec<_> = snapshot
            .members
            .values()
            .map(|member| format!("{} {} {} {}", member.name, member.id, member.address, member.weight))
            .collect();
        assert_eq!(
            (snapshot.membership.number, found),
            (expected.0, expected.1.iter().map(ToString::to_string).collect())
        );
        assert_complaints(&snapshot, problems);
    }

    fn generation(number: u64, members: &[(&str, u16, &str)]) -> String {
        let member = |&(name, id, state): &(&str, u16, &str)| {
            format!("{{name: {name}, id: {id}, address: 198.51.100.{id}, weight: 100, state: {state}}}")
        };
        let members: Vec<_> = members.iter().map(member).collect();
        format!("{{number: {number}, step: Switch, members: [{}]}}", members.join(", "))
    }

    #[test]
    fn members_are_those_of_the_newest_generation() {
        let history = [
            generation(3, &[("a", 1, "Active"), ("b", 2, "Active")]),
            generation(4, &[("b", 2, "Draining"), ("c", 3, "Active")]),
        ];
        check(&history.join(", "), (4, &["b 2 198.51.100.2 0", "c 3 198.51.100.3 100"]), &[]);
    }

    #[test]
    fn all_go_on_when_all_drain() {
        let history = generation(1, &[("a", 1, "Draining"), ("b", 2, "Draining")]);
        check(&history, (1, &["a 1 198.51.100.1 100", "b 2 198.51.100.2 100"]), &[]);
    }

    #[test]
    fn without_a_history_there_are_no_members() {
        check("", (0, &[]), &[]);
        let edge = "{apiVersion: v1, kind: Node, metadata: {name: a, labels: {edgelb.dev/edge: 'true'}}, \
                    status: {addresses: [{type: InternalIP, address: 198.51.100.1}]}}";
        let settings = Settings { membership: Membership::History, ..Settings::default() };
        assert!(snapshot(edge, &settings).members.is_empty());
    }

    #[test]
    fn nonsense_is_named() {
        let twice = [("a", 1, "Active"), ("b", 1, "Active")];
        let problem =
            "EdgeMembership edgelb: spec.generations[0].members[1].id: 1 is no id, or that of two members";
        check(&generation(1, &twice), (0, &[]), &[problem]);
    }
}
