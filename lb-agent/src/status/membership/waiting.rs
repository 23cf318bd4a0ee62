//! Why a change waits, in words: for `kubectl get edgememberships`. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::candidates::Place;
use super::flow_keys::{self, Coming};
use super::steps::{lacking, needing, settled};
use super::{MOST_AT_ONCE, Sight};
use crate::api::{EdgeMembershipSpec, MemberState, MembershipGeneration, MembershipStep};
use crate::status::lease::NodeLease;

/// What keeps a further generation from being written.
pub(super) fn reason(history: &EdgeMembershipSpec, sight: &Sight<'_>) -> Option<String> {
    if let Some(words) = rolled(history, sight) {
        return Some(words);
    }
    let is_learned = history.generations.last().is_some_and(|newest| newest.step == MembershipStep::Learn);
    let is_full = history.generations.len() >= MOST_AT_ONCE;
    if is_learned || is_full { next_step(history, sight) } else { away(history, sight) }
}

/// Who opened flows in place of one that was away takes a place in its rows as a generation does.
fn away(history: &EdgeMembershipSpec, sight: &Sight<'_>) -> Option<String> {
    let room = MOST_AT_ONCE.saturating_sub(history.generations.len()) as u64;
    let full = sight.agents.live(sight.now).find(|lease| lease.stood_in >= room)?;
    Some(format!("rows of {} lead to flows that opened elsewhere while a member was away", full.node))
}

/// What is to be said of flow keys: of one that takes the place of another, and of one that was given.
pub(super) fn keys(history: &EdgeMembershipSpec, sight: &Sight<'_>) -> Vec<String> {
    let coming = match flow_keys::coming(history, sight) {
        Some(Coming::Waits(words)) => Some(words),
        Some(Coming::Begins(_)) | None => None,
    };
    rolled(history, sight).into_iter().chain(coming).collect()
}

fn rolled(history: &EdgeMembershipSpec, sight: &Sight<'_>) -> Option<String> {
    let (former, next) = flow_keys::rolled(history)?;
    let reason = next_step(history, sight).unwrap_or_else(|| "its last step comes".to_owned());
    Some(format!("flow key {next} takes the place of {former}: {reason}"))
}

/// What the next step of the newest generation, or the end of the oldest one, waits for.
fn next_step(history: &EdgeMembershipSpec, sight: &Sight<'_>) -> Option<String> {
    let [oldest, later @ ..] = history.generations.as_slice() else { return None };
    let newest = later.last().filter(|newest| newest.step == MembershipStep::Learn);
    if let Some(newest) = newest {
        return Some(lags(newest, sight));
    }
    let Some(settled) = settled(later) else { return later.first().map(|first| lags(first, sight)) };
    let mut holders = needing(oldest, sight);
    let holder = if lacking(settled, sight).next().is_none() { holders.next() } else { None };
    Some(match holder {
        Some(NodeLease { node, held, .. }) => {
            let flows = if *held == 1 { "connection" } else { "connections" };
            format!("{node} holds flows of generation {} ({held} {flows} in all)", oldest.number)
        }
        None => lags(settled, sight),
    })
}

fn lags(generation: &MembershipGeneration, sight: &Sight<'_>) -> String {
    let names: Vec<_> = lacking(generation, sight).map(|lease| lease.node.as_str()).collect();
    let MembershipGeneration { number, step, .. } = generation;
    match names.as_slice() {
        [] => format!("generation {number} is at step {step:?}"),
        [name] => format!("{name} has not acknowledged generation {number} ({step:?})"),
        names => format!("{} have not acknowledged generation {number} ({step:?})", names.join(", ")),
    }
}

/// The change itself, and why it waits.
pub(super) fn queued(newest: &MembershipGeneration, wanted: &[Place], reason: &str) -> String {
    let number = newest.number.saturating_add(1);
    format!("change {number} queued ({}): {reason}", changes(newest, wanted).join(", "))
}

fn changes(newest: &MembershipGeneration, wanted: &[Place]) -> Vec<String> {
    let is: BTreeMap<_, _> =
        newest.members.iter().map(|member| (member.name.as_str(), Place::of(member))).collect();
    let should: BTreeMap<_, _> = wanted.iter().map(|place| (place.name.as_str(), place)).collect();
    let names: BTreeSet<_> = is.keys().chain(should.keys()).collect();
    let change = |name: &&str| match (is.get(*name), should.get(*name)) {
        (None, _) => Some(format!("{name} joins")),
        (_, None) => Some(format!("{name} leaves")),
        (Some(is), Some(should)) => Some(format!("{name} {}", difference(is, should)?)),
    };
    names.into_iter().filter_map(change).collect()
}

fn difference(is: &Place, should: &Place) -> Option<String> {
    Some(match should.state {
        MemberState::Draining if is.state == MemberState::Active => "drains".to_owned(),
        MemberState::Active if is.state == MemberState::Draining => "is active again".to_owned(),
        _ if is.weight != should.weight => format!("has weight {}", should.weight),
        _ if is.address != should.address => format!("has address {}", should.address),
        _ => return None,
    })
}
