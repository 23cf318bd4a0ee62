//! How far the nodes are with the history, for people: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::lease::NodeLease;
use super::membership::{Sight, in_force, steps};
use crate::api::{EdgeMember, EdgeMembershipSpec, EdgeMembershipStatus, MemberState, MembershipGeneration};
use crate::model::Mark;

/// The status that goes with a history.
pub(super) fn progress(
    history: &EdgeMembershipSpec,
    sight: &Sight<'_>,
    waiting: Vec<String>,
) -> EdgeMembershipStatus {
    let Some(newest) = history.generations.last() else { return EdgeMembershipStatus::default() };
    let members = || newest.members.iter();
    let open: BTreeSet<_> = in_force(history).into_iter().flat_map(|g| &g.members).map(|m| &m.name).collect();
    let drain = || members().filter(|member| member.state == MemberState::Draining);
    let live: Vec<_> = sight.agents.live(sight.now).collect();
    let lacking = steps::lacking(newest, sight).count();
    EdgeMembershipStatus {
        generation: newest.number,
        step: Some(newest.step),
        members: names(members()),
        joining: names(members().filter(|member| !open.contains(&member.name))),
        draining: names(drain()),
        drains: drain().map(|member| left(&member.name, sight)).collect(),
        dead: dead(history, newest, sight),
        acknowledged: format!("{} of {}", live.len() - lacking, live.len()),
        diverging: diverging(live.into_iter()),
        waiting,
    }
}

fn names<'a>(members: impl Iterator<Item = &'a EdgeMember>) -> String {
    members.map(|member| member.name.as_str()).collect::<Vec<_>>().join(",")
}

/// Members of earlier generations whose agents are gone.
fn dead(history: &EdgeMembershipSpec, newest: &MembershipGeneration, sight: &Sight<'_>) -> String {
    let is = |name: &str| newest.members.iter().any(|member| member.name == name);
    let live: BTreeSet<_> = sight.agents.live(sight.now).map(|lease| lease.node.as_str()).collect();
    let members = history.generations.iter().flat_map(|generation| &generation.members);
    let names: BTreeSet<_> = members.map(|member| member.name.as_str()).collect();
    let dead: Vec<_> = names.into_iter().filter(|name| !is(name) && !live.contains(name)).collect();
    dead.join(",")
}

/// What a draining node has left, no finer than people want it: each new word is a write.
fn left(node: &str, sight: &Sight<'_>) -> String {
    let Some(lease) = sight.agents.lease(node) else { return format!("{node}: nothing is known") };
    if lease.held == 0 {
        return format!("{node}: done");
    }
    let is_over = sight.since.drains_for(node, sight.deadline, sight.now);
    let over = if is_over { "past the deadline, " } else { "" };
    let connections = if lease.held == 1 { "connection" } else { "connections" };
    let oldest = lease.oldest.map(|oldest| format!(", the oldest {}", age(oldest))).unwrap_or_default();
    format!("{node}: {over}{} {connections} left{oldest}", lease.held)
}

fn age(age: Duration) -> String {
    match age.as_secs() / 60 {
        0 => "under 1 min".to_owned(),
        minutes @ 1..120 => format!("{minutes} min"),
        minutes => format!("{} h", minutes / 60),
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
    use std::time::Instant;

    use super::*;
    use crate::api::MembershipStep;
    use crate::status::AgentState;
    use crate::status::agents::Agents;
    use crate::status::membership::Since;

    fn lease(node: &str, acknowledged: u64, rows: Option<u64>) -> NodeLease {
        NodeLease {
            acknowledged: Mark { number: acknowledged, ..Mark::default() },
            rows,
            ..NodeLease::saying(node, Duration::from_secs(12), AgentState::Ready)
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
        let (a, b) = (member("a", 1, MemberState::Active), member("b", 2, MemberState::Draining));
        let generation = |number, step, members| MembershipGeneration {
            number,
            step,
            members,
            flow_key: None,
            since: None,
        };
        let old = vec![a.clone(), member("d", 4, MemberState::Active)];
        let before = vec![a.clone(), b.clone()];
        let newest = vec![a, b, member("c", 3, MemberState::Active)];
        let generations = vec![
            generation(5, MembershipStep::Settled, old),
            generation(6, MembershipStep::Settled, before),
            generation(7, MembershipStep::Learn, newest),
        ];
        let history = EdgeMembershipSpec { generations, last_id: 4, unreadable: None };
        let now = Instant::now();
        let mut agents = Agents::new(Duration::from_secs(12), now);
        agents.apply(lease("a", 7, None), now);
        agents
            .apply(NodeLease { held: 3, oldest: Some(Duration::from_secs(270)), ..lease("b", 6, None) }, now);
        agents.apply(NodeLease { state: AgentState::Stopped, ..lease("d", 6, None) }, now);
        let since = Since::default();
        let deadline = Duration::from_secs(3600);
        let sight = Sight { agents: &agents, nodes: &[], since: &since, deadline, keeps_keys: true, now };
        let expected = EdgeMembershipStatus {
            generation: 7,
            step: Some(MembershipStep::Learn),
            members: "a,b,c".to_owned(),
            joining: "c".to_owned(),
            draining: "b".to_owned(),
            drains: vec!["b: 3 connections left, the oldest 4 min".to_owned()],
            dead: "d".to_owned(),
            acknowledged: "1 of 2".to_owned(),
            diverging: Vec::new(),
            waiting: vec!["change 8 queued".to_owned()],
        };
        assert_eq!(progress(&history, &sight, vec!["change 8 queued".to_owned()]), expected);
    }

    #[test]
    fn what_a_draining_node_has_left() {
        let start = Instant::now();
        let member = EdgeMember {
            name: "a".to_owned(),
            id: 1,
            address: [198, 51, 100, 1].into(),
            weight: 100,
            state: MemberState::Draining,
        };
        let step = MembershipStep::Settled;
        let generation =
            MembershipGeneration { number: 1, step, members: vec![member], flow_key: None, since: None };
        let history = EdgeMembershipSpec { generations: vec![generation], last_id: 1, unreadable: None };
        let mut since = Since::default();
        since.observe(&history, start);
        for (held, oldest, seconds, expected) in [
            (0, None, 9, "a: done"),
            (1, Some(59), 9, "a: 1 connection left, the oldest under 1 min"),
            (2, Some(7199), 9, "a: 2 connections left, the oldest 119 min"),
            (2, Some(7200), 9, "a: 2 connections left, the oldest 2 h"),
            (2, None, 60, "a: past the deadline, 2 connections left"),
        ] {
            let now = start + Duration::from_secs(seconds);
            let mut agents = Agents::new(Duration::from_secs(12), now);
            let oldest = oldest.map(Duration::from_secs);
            agents.apply(NodeLease { held, oldest, ..lease("a", 1, None) }, now);
            let deadline = Duration::from_secs(60);
            let sight = Sight { agents: &agents, nodes: &[], since: &since, deadline, keeps_keys: true, now };
            assert_eq!(progress(&history, &sight, Vec::new()).drains, [expected]);
        }
    }
}
