//! What must hold of a history, for itself and after the one before it: people can edit it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{EdgeMember, EdgeMembershipSpec, FlowKeyPrint, MembershipGeneration, MembershipStep};

/// More generations are not kept (the CRD has the same bound).
pub const MOST_GENERATIONS: usize = 8;

/// The highest number that every reader of JSON holds exactly (the CRD has the same bound).
pub const MOST_NUMBER: u64 = (1 << 53) - 1;

/// Flow keys by which flows are found at one time.
const MOST_KEYS: usize = 2;

/// Numbers rise by one a change: who raises them by more than all changes of a century would have none left soon.
const LONGEST_LEAP: u64 = 1 << 32;

/// Where a history makes no sense, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nonsense {
    /// The field, as a path from the object.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

fn nonsense<T>(field: impl Into<String>, message: impl Into<String>) -> Result<T, Nonsense> {
    Err(Nonsense { field: field.into(), message: message.into() })
}

impl EdgeMembershipSpec {
    /// Whether it makes sense for itself. One without generations does: it is the one before the first.
    ///
    /// # Errors
    /// The first place that makes none.
    pub fn check(&self) -> Result<(), Nonsense> {
        if let Some(message) = &self.unreadable {
            return nonsense("spec", message);
        }
        if self.generations.len() > MOST_GENERATIONS {
            return nonsense("spec.generations", format!("there are more than {MOST_GENERATIONS}"));
        }
        let mut before = 0;
        let mut ids = Ids::default();
        for (at, generation) in self.generations.iter().enumerate() {
            let field = format!("spec.generations[{at}]");
            if generation.number <= before || generation.number > MOST_NUMBER {
                let message = format!("{}: numbers rise from 1 to {MOST_NUMBER} at most", generation.number);
                return nonsense(format!("{field}.number"), message);
            }
            before = generation.number;
            let is_last = at + 1 == self.generations.len();
            if generation.step == MembershipStep::Learn && (at == 0 || !is_last) {
                let message = "Learn: only the last generation can be learned, and not the only one";
                return nonsense(format!("{field}.step"), message);
            }
            check_members(&field, generation, &mut ids)?;
        }
        self.check_keys()
    }

    /// A row has room for what two keys find, and a flow is found by each at the openers of one membership.
    fn check_keys(&self) -> Result<(), Nonsense> {
        let mut keys = BTreeSet::new();
        let mut before: Option<(&MembershipGeneration, FlowKeyPrint)> = None;
        for (at, generation) in self.generations.iter().enumerate() {
            let Some(key) = generation.flow_key else { continue };
            let field = || format!("spec.generations[{at}].flowKey");
            keys.insert(key);
            if keys.len() > MOST_KEYS {
                return nonsense(field(), format!("{key}: there are more than {MOST_KEYS}"));
            }
            let other = before.filter(|(_, of_before)| *of_before != key);
            if let Some((of, of_before)) = other
                && of.members != generation.members
            {
                let message = format!("{key}, after {of_before}: where the key changes, the members do not");
                return nonsense(field(), message);
            }
            before = Some((generation, key));
        }
        Ok(())
    }

    /// Whether it can have come of `before`, which made sense.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check_after(&self, before: &Self) -> Result<(), Nonsense> {
        let Some(old) = before.generations.last() else { return Ok(()) };
        let Some(new) = self.generations.last() else {
            return nonsense("spec.generations", format!("they are gone; there was {}", old.number));
        };
        let field = format!("spec.generations[{}]", self.generations.len() - 1);
        if (new.number, new.step) < (old.number, old.step) {
            let (number, step) = (old.number, old.step);
            return nonsense(
                format!("{field}.number"),
                format!("it is behind {number} {step:?}, which was there"),
            );
        }
        if new.number > old.number.saturating_add(LONGEST_LEAP) {
            return nonsense(
                format!("{field}.number"),
                format!("{} is too far from {}", new.number, old.number),
            );
        }
        let known: BTreeMap<_, _> = before.generations.iter().map(|known| (known.number, known)).collect();
        for (at, generation) in self.generations.iter().enumerate() {
            let Some(known) = known.get(&generation.number) else { continue };
            let number = generation.number;
            if known.members != generation.members {
                let message = format!("those of generation {number} were others: members never change");
                return nonsense(format!("spec.generations[{at}].members"), message);
            }
            // Who does not know of keys writes none.
            if let (Some(known), Some(key)) = (known.flow_key, generation.flow_key)
                && known != key
            {
                let message = format!("{key}: that of generation {number} is {known}, and never changes");
                return nonsense(format!("spec.generations[{at}].flowKey"), message);
            }
        }
        Ok(())
    }
}

/// Whose an id is, in all of a history.
#[derive(Default)]
struct Ids<'a> {
    names: BTreeMap<u16, &'a str>,
    ids: BTreeMap<&'a str, u16>,
}

impl<'a> Ids<'a> {
    fn take(&mut self, member: &'a EdgeMember) -> bool {
        let EdgeMember { name, id, .. } = member;
        *self.names.entry(*id).or_insert(name) == name.as_str() && *self.ids.entry(name).or_insert(*id) == *id
    }
}

fn check_members<'a>(
    field: &str,
    generation: &'a MembershipGeneration,
    ids: &mut Ids<'a>,
) -> Result<(), Nonsense> {
    if generation.members.is_empty() {
        return nonsense(format!("{field}.members"), "there are none");
    }
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::<IpAddr>::new());
    for (at, member) in generation.members.iter().enumerate() {
        let bad = |name: &str, message: String| nonsense(format!("{field}.members[{at}].{name}"), message);
        if member.name.is_empty() || !names.insert(&member.name) {
            return bad("name", format!("{:?} is no name, or that of two members", member.name));
        }
        if member.id == 0 || !ids.take(member) {
            return bad("id", format!("{} is no id, or that of another member", member.id));
        }
        if !addresses.insert(member.address.to_canonical()) {
            return bad("address", format!("two members have {}", member.address));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
