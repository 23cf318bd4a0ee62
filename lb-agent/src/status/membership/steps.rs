//! The steps of generations: each is taken when all live agents have the one before in their kernels. Pure.

use super::Sight;
use crate::api::{EdgeMembershipSpec, MembershipGeneration, MembershipStep};
use crate::model::Step;
use crate::status::lease::NodeLease;

/// Takes the next step with each generation that all have.
pub(super) fn advance(history: &mut EdgeMembershipSpec, sight: &Sight<'_>) {
    // Who hears nobody knows nothing.
    if sight.agents.live(sight.now).next().is_none() && !sight.agents.is_in_contact(sight.now) {
        return;
    }
    for generation in &mut history.generations {
        if lacking(generation, sight).next().is_none() {
            generation.step = match generation.step {
                MembershipStep::Learn => MembershipStep::Switch,
                MembershipStep::Switch | MembershipStep::Settled => MembershipStep::Settled,
            };
        }
    }
}

/// Live agents that do not have this generation, at its step, in their kernels.
pub(in crate::status) fn lacking<'a>(
    generation: &MembershipGeneration,
    sight: &Sight<'a>,
) -> impl Iterator<Item = &'a NodeLease> + use<'a> {
    let (number, step) = (generation.number, step(generation.step));
    sight.agents.live(sight.now).filter(move |lease| !lease.acknowledged.has(number, step))
}

/// Whether there are nodes at which flows open by a generation before this one: they have not switched.
pub(super) fn is_opened_before(generation: &MembershipGeneration, sight: &Sight<'_>) -> bool {
    sight.agents.live(sight.now).any(|lease| !lease.acknowledged.has(generation.number, Step::Switch))
}

const fn step(step: MembershipStep) -> Step {
    match step {
        MembershipStep::Learn => Step::Learn,
        MembershipStep::Switch => Step::Switch,
        MembershipStep::Settled => Step::Settled,
    }
}

/// Retires the oldest generations, as long as nobody needs them. Whether somebody does can only be said once all
/// know that no new flow opens under them; then they have a time to end.
pub(super) fn retire(history: &mut EdgeMembershipSpec, sight: &Sight<'_>) {
    while let [oldest, later @ ..] = history.generations.as_slice() {
        let Some(settled) = settled(later) else { return };
        let is_overdue = sight.since.is_superseded_for(oldest.number, sight.deadline, sight.now);
        let is_free = lacking(settled, sight).next().is_none()
            && needing(oldest, sight).next().is_none()
            && sight.agents.live(sight.now).next().is_some();
        if !is_free && !is_overdue {
            return;
        }
        history.generations.remove(0);
    }
}

/// The newest one of these that is settled.
pub(super) fn settled(generations: &[MembershipGeneration]) -> Option<&MembershipGeneration> {
    generations.iter().rev().find(|generation| generation.step == MembershipStep::Settled)
}

/// Live agents whose nodes hold flows that are found by this generation, or by an older one, alone.
pub(super) fn needing<'a>(
    generation: &MembershipGeneration,
    sight: &Sight<'a>,
) -> impl Iterator<Item = &'a NodeLease> + use<'a> {
    let number = generation.number;
    sight.agents.live(sight.now).filter(move |lease| lease.needed.is_some_and(|needed| needed <= number))
}
