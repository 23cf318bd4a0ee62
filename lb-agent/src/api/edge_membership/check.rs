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
mod tests {
    use super::*;

    /// From YAML: generations as `number step[@key] name:id:last-byte-of-address ...`.
    fn history(generations: &[&str]) -> EdgeMembershipSpec {
        let member = |text: &str| {
            let [name, id, address] = text.split(':').collect::<Vec<_>>()[..] else { panic!("{text}") };
            format!(
                r#"{{"name":"{name}","id":{id},"address":"198.51.100.{address}","weight":1,"state":"Active"}}"#
            )
        };
        let generation = |text: &&str| {
            let mut words = text.split(' ');
            let (number, step) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let (step, key) = step.split_once('@').map_or((step, None), |(step, key)| (step, Some(key)));
            let key = key.map(|key| format!(r#","flowKey":"{key}""#)).unwrap_or_default();
            let members: Vec<_> = words.map(member).collect();
            format!(r#"{{"number":{number},"step":"{step}"{key},"members":[{}]}}"#, members.join(","))
        };
        let generations: Vec<_> = generations.iter().map(generation).collect();
        let text = format!(r#"{{"spec":{{"lastId":9,"generations":[{}]}}}}"#, generations.join(","));
        serde_json::from_str::<super::super::EdgeMembership>(&text).expect("JSON").spec
    }

    #[track_caller]
    fn check(generations: &[&str], expected: Result<(), &str>) {
        let found =
            history(generations).check().map_err(|Nonsense { field, message }| format!("{field}: {message}"));
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn a_history_makes_sense_or_it_is_said_where_not() {
        check(&[], Ok(()));
        check(&["7 Settled a:1:1 b:2:2", "9 Switch a:1:1", "10 Learn a:1:1 b:2:3"], Ok(()));
        let number = "numbers rise from 1 to 9007199254740991 at most";
        for (generations, field, message) in [
            (&["0 Settled a:1:1"][..], "[0].number", format!("0: {number}")),
            (&["7 Settled a:1:1", "7 Switch a:1:1"], "[1].number", format!("7: {number}")),
            (&["9223372036854775807 Settled a:1:1"], "[0].number", format!("9223372036854775807: {number}")),
            (&["7 Settled"], "[0].members", "there are none".to_owned()),
            (
                &["7 Settled a:1:1 a:1:2"],
                "[0].members[1].name",
                "\"a\" is no name, or that of two members".to_owned(),
            ),
            (&["7 Settled a:0:1"], "[0].members[0].id", "0 is no id, or that of another member".to_owned()),
            (
                &["7 Settled a:1:1 b:1:2"],
                "[0].members[1].id",
                "1 is no id, or that of another member".to_owned(),
            ),
            (
                &["7 Settled a:1:1", "8 Switch b:1:2"],
                "[1].members[0].id",
                "1 is no id, or that of another member".to_owned(),
            ),
            (
                &["7 Settled a:1:1 b:2:1"],
                "[0].members[1].address",
                "two members have 198.51.100.1".to_owned(),
            ),
        ] {
            check(generations, Err(&format!("spec.generations{field}: {message}")));
        }
        for learned in [&["7 Learn a:1:1"][..], &["7 Settled a:1:1", "8 Learn a:1:1", "9 Switch a:1:1"]] {
            assert!(history(learned).check().is_err_and(|nonsense| nonsense.field.ends_with(".step")));
        }
        let many: Vec<_> = (1..10).map(|number| format!("{number} Switch a:1:1")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        check(&many, Err("spec.generations: there are more than 8"));
    }

    #[test]
    fn two_keys_have_one_membership_between_them() {
        let (one, other) = ("0000000a", "0000000b");
        let of = |keys: &[(&str, &str)]| -> Vec<String> {
            let generation =
                |(at, (key, members)): (usize, &(&str, &str))| format!("{} Switch{key} {members}", at + 1);
            keys.iter().enumerate().map(generation).collect()
        };
        let [one, other, third] = [one, other, "0000000c"].map(|key| format!("@{key}"));
        let (two, three) = ("a:1:1 b:2:2", "a:1:1 b:2:2 c:3:3");
        for (keys, is_good) in [
            (&[(one.as_str(), two), (one.as_str(), three)][..], true),
            (&[(&one, two), (&other, two)], true),
            (&[("", two), (&other, three)], true),
            (&[(&one, two), ("", two), (&other, two), (&other, three)], true),
            (&[(&one, two), (&other, two), (&one, two)], true),
            (&[(&one, two), (&other, three)], false),
            (&[(&one, two), (&other, two), (&third, two)], false),
        ] {
            let generations = of(keys);
            let found = history(&generations.iter().map(String::as_str).collect::<Vec<_>>()).check();
            assert_eq!(found.is_ok(), is_good, "{generations:?}: {found:?}");
            assert!(found.is_ok() || found.is_err_and(|nonsense| nonsense.field.ends_with(".flowKey")));
        }
    }

    #[test]
    fn a_generation_keeps_its_key() {
        let before = history(&["7 Settled@0000000a a:1:1"]);
        for (generation, is_good) in [
            ("7 Settled@0000000a a:1:1", true),
            ("7 Settled a:1:1", true),
            ("8 Switch@0000000b a:1:1", true),
            ("7 Settled@0000000b a:1:1", false),
        ] {
            let found = history(&[generation]).check_after(&before);
            assert_eq!(found.is_ok(), is_good, "{generation}: {found:?}");
        }
        assert_eq!(before.check_after(&history(&["7 Settled a:1:1"])), Ok(()));
    }

    #[test]
    fn what_does_not_parse_is_nonsense_too() {
        for generation in [
            "7 Settled a:1:x",
            "7 Settled@key a:1:1",
            "7 Settled a:70000:1",
            "-7 Settled a:1:1",
            "7 Sometime a:1:1",
        ] {
            let found = history(&[generation]).check();
            assert!(found.is_err_and(|nonsense| nonsense.field == "spec"), "{generation}");
        }
    }

    #[test]
    fn numbers_and_steps_only_rise() {
        let before = history(&["7 Settled a:1:1", "8 Switch a:1:1 b:2:2"]);
        for (generations, is_good) in [
            (&["7 Settled a:1:1", "8 Switch a:1:1 b:2:2"][..], true),
            (&["8 Settled a:1:1 b:2:2"], true),
            (&["8 Settled a:1:1 b:2:2", "9 Learn a:1:1"], true),
            (&["700 Switch a:1:1"], true),
            (&[], false),
            (&["7 Settled a:1:1"], false),
            (&["7 Settled a:1:1", "8 Learn a:1:1 b:2:2"], false),
            (&["8 Settled a:1:1 c:2:2"], false),
            (&["9007199254740991 Settled a:1:1"], false),
        ] {
            let found = history(generations).check_after(&before);
            assert_eq!(found.is_ok(), is_good, "{generations:?}: {found:?}");
        }
        assert_eq!(before.check_after(&EdgeMembershipSpec::default()), Ok(()));
    }
}
