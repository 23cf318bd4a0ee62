//! How far the nodes are with the history, for people: pure.

use std::collections::BTreeMap;
use std::time::Instant;

use super::agents::{Agents, Liveness};
use super::lease::NodeLease;
use crate::api::{EdgeMember, EdgeMembershipSpec, EdgeMembershipStatus, MemberState};
use crate::model::Mark;

/// The status that goes with a history.
pub(super) fn progress(
    history: &EdgeMembershipSpec,
    agents: &Agents,
    waiting: Vec<String>,
    now: Instant,
) -> EdgeMembershipStatus {
    let Some(newest) = history.generations.last() else { return EdgeMembershipStatus::default() };
    let names = |members: &mut dyn Iterator<Item = &EdgeMember>| {
        members.map(|member| member.name.as_str()).collect::<Vec<_>>().join(",")
    };
    let has_it = |member: &&EdgeMember| {
        agents.lease(&member.name).is_some_and(|lease| lease.acknowledged.number >= newest.number)
            && agents.liveness(&member.name, now) != Liveness::Silent
    };
    let acknowledged = newest.members.iter().filter(has_it).count();
    EdgeMembershipStatus {
        generation: newest.number,
        step: Some(newest.step),
        members: names(&mut newest.members.iter()),
        draining: names(&mut newest.members.iter().filter(|member| member.state == MemberState::Draining)),
        acknowledged: format!("{acknowledged} of {}", newest.members.len()),
        diverging: diverging(agents.leases(now)),
        waiting,
    }
}

/// Nodes whose rows differ from those of most others that have the same generation, by name. Of two camps of one
/// size, that of the first node by name counts as most.
fn diverging<'a>(leases: impl Iterator<Item = &'a NodeLease>) -> Vec<String> {
    let mut generations: BTreeMap<Mark, Vec<(&str, u64)>> = BTreeMap::new();
    for lease in leases {
        if let Some(rows) = lease.rows {
            generations.entry(lease.acknowledged).or_default().push((&lease.node, rows));
        }
    }
    let mut found: Vec<String> = generations.into_values().flat_map(|nodes| minority(&nodes)).collect();
    found.sort();
    found
}

fn minority(nodes: &[(&str, u64)]) -> Vec<String> {
    let votes = |rows: u64| nodes.iter().filter(|(_, other)| *other == rows).count();
    // The first of those with the most votes: `max_by_key` would give the last.
    let most = nodes.iter().rev().max_by_key(|(_, rows)| votes(*rows)).map(|(_, rows)| *rows);
    nodes.iter().filter(|(_, rows)| Some(*rows) != most).map(|(name, _)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::{MembershipGeneration, MembershipStep};
    use crate::status::AgentState;

    fn lease(node: &str, acknowledged: u64, rows: Option<u64>) -> NodeLease {
        NodeLease {
            node: node.to_owned(),
            holder: String::new(),
            renewal: None,
            duration: Duration::from_secs(12),
            state: AgentState::Ready,
            acknowledged: Mark { number: acknowledged, ..Mark::default() },
            rows,
            addresses: Vec::new(),
        }
    }

    #[track_caller]
    fn check(leases: &[(&str, u64, Option<u64>)], expected: &[&str]) {
        let leases: Vec<_> =
            leases.iter().map(|&(node, generation, rows)| lease(node, generation, rows)).collect();
        assert_eq!(diverging(leases.iter()), expected);
    }

    #[test]
    fn who_has_other_rows_than_most_diverges() {
        check(&[("a", 7, Some(1)), ("b", 7, Some(1)), ("c", 7, Some(1))], &[]);
        check(&[("a", 7, Some(2)), ("b", 7, Some(1)), ("c", 7, Some(1))], &["a"]);
        check(&[("a", 7, Some(2)), ("b", 7, Some(1))], &["b"]);
        check(&[("a", 7, Some(1)), ("b", 8, Some(2)), ("c", 8, Some(2)), ("d", 7, None)], &[]);
        check(&[("a", 7, Some(1)), ("b", 7, Some(2)), ("c", 8, Some(3)), ("d", 8, Some(4))], &["b", "d"]);
    }

    #[test]
    fn columns_tell_of_the_newest_generation() {
        let member = |name: &str, id, state| EdgeMember {
            name: name.to_owned(),
            id,
            address: [198, 51, 100, 1].into(),
            weight: 100,
            state,
        };
        let members = vec![member("a", 1, MemberState::Active), member("b", 2, MemberState::Draining)];
        let newest = MembershipGeneration { number: 7, step: MembershipStep::Switch, members, since: None };
        let history = EdgeMembershipSpec { generations: vec![newest], last_id: 2 };
        let now = Instant::now();
        let mut agents = Agents::new(Duration::from_secs(12), now);
        agents.apply(lease("a", 7, None), now);
        agents.apply(lease("b", 6, None), now);
        let expected = EdgeMembershipStatus {
            generation: 7,
            step: Some(MembershipStep::Switch),
            members: "a,b".to_owned(),
            draining: "b".to_owned(),
            acknowledged: "1 of 2".to_owned(),
            diverging: Vec::new(),
            waiting: vec!["c".to_owned()],
        };
        assert_eq!(progress(&history, &agents, vec!["c".to_owned()], now), expected);
    }
}
