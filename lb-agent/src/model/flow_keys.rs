//! The flow keys of a node: by which it finds flows, what a history makes of them, and which one it was given. Told by
//! fingerprints: no key is ever shown.

use std::sync::Arc;
use std::time::Duration;

use super::{Generation, Step};

/// Those by which a node finds flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyPrints {
    /// Flows open by it.
    pub in_force: u32,
    /// Flows may have opened by it, or will at other nodes before they do here.
    pub other: Option<u32>,
}

/// What the other key is there for, where nobody writes a history for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Roll {
    /// It is learned, and takes the place of the one in force once all know it.
    Comes,
    /// Flows may have opened by it.
    Goes,
}

/// What a history makes of a node's keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Followed {
    /// The keys.
    pub keys: KeyPrints,
    /// The generations whose keys the node knows: it can acknowledge no others.
    pub known: Vec<Arc<Generation>>,
    /// The key that flows have and the node does not know: it is no first hop then.
    pub lacks: Option<u32>,
}

impl KeyPrints {
    /// What they become by a history's generations, the oldest first, on a node that was given this key. Where a
    /// generation does not say its key, none is given up for it.
    #[must_use]
    pub fn follow(self, generations: &[Arc<Generation>], given: Option<u32>) -> Followed {
        let is_known = |key: u32| [Some(self.in_force), self.other, given].contains(&Some(key));
        let open = || generations.iter().rev().filter(|generation| generation.step >= Step::Switch);
        let lacks = open().filter_map(|generation| generation.key).find(|&key| !is_known(key));
        let in_force = open().next().and_then(|newest| newest.key).filter(|&key| is_known(key));
        let mut keys = match in_force {
            Some(next) if next != self.in_force => Self { in_force: next, other: Some(self.in_force) },
            _ => self,
        };
        let is_beside = |&key: &u32| key != keys.in_force && is_known(key);
        let beside = generations.iter().filter_map(|generation| generation.key).find(is_beside);
        let is_told =
            !generations.is_empty() && generations.iter().all(|generation| generation.key.is_some());
        keys.other = beside.or(keys.other.filter(|_| !is_told));
        let known = generations.iter().filter(|generation| generation.key.is_none_or(is_known));
        Followed { keys, known: known.map(Arc::clone).collect(), lacks }
    }
}

/// So long a node goes on by the key that it has where a history has all of a sudden another one in force. The leader puts right
/// within seconds what an operator has written there; what stays, the node has missed.
pub const DOUBTED: Duration = Duration::from_secs(15);

/// What a node says of its keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FlowKeys {
    /// Those by which it finds flows. `None` before there are any.
    pub keys: Option<KeyPrints>,
    /// The one that it was given last.
    pub given: Option<u32>,
    /// What gives it keys: a Secret or a file.
    pub source: String,
    /// The one by which others open flows, and which it does not know.
    pub lacks: Option<u32>,
    /// Whether it goes on for now as if it lacked none: nobody was told of that key in time.
    pub is_doubted: bool,
    /// What the given one waits for, if this node knows.
    pub waits: Option<String>,
}

impl FlowKeys {
    /// The one by which flows open.
    #[must_use]
    pub fn in_force(&self) -> Option<u32> {
        self.keys.map(|keys| keys.in_force)
    }

    /// The one that it was given, if that is not in force.
    #[must_use]
    pub fn coming(&self) -> Option<u32> {
        self.given.filter(|&given| self.keys.is_some_and(|keys| keys.in_force != given))
    }

    /// Whether the node may be no first hop for want of a key.
    #[must_use]
    pub fn are_wanting(&self) -> bool {
        self.lacks.is_some() && !self.is_doubted
    }

    /// The one that it lacks and does not believe in.
    #[must_use]
    pub fn doubted(&self) -> Option<u32> {
        self.lacks.filter(|_| self.is_doubted)
    }

    /// What is on its way or amiss, and what it waits for.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let KeyPrints { in_force, other } = self.keys?;
        let source = &self.source;
        if let Some(doubted) = self.doubted() {
            return Some(format!(
                "flow key {doubted:08x}, by which the history has all nodes find connections, is not known here, nor was it told \
                 of before: this node goes on by {in_force:08x} for {} s, as after an edit that makes no sense",
                DOUBTED.as_secs()
            ));
        }
        if let Some(lacks) = self.lacks {
            return Some(format!(
                "flow key {lacks:08x}, by which the other nodes find connections, is not known here, where {in_force:08x} is \
                 in force: this node may attract no VIPs until it is in {source}"
            ));
        }
        let waits = self.waits.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
        match (self.coming(), other) {
            (None, None) => None,
            (Some(given), Some(other)) if given == other => Some(format!(
                "flow key {given:08x} of {source} is known to this node and on its way: connections open by \
                 {in_force:08x} until all nodes know it{waits}"
            )),
            (Some(given), _) => Some(format!(
                "flow key {given:08x} of {source} waits, connections open by {in_force:08x}{waits}"
            )),
            (None, Some(other)) => Some(format!(
                "flow key {in_force:08x} is in force, {other:08x} is kept for the connections that opened by it{waits}"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u32 = 0xa;
    const B: u32 = 0xb;
    const C: u32 = 0xc;

    fn history(generations: &[(Step, Option<u32>)]) -> Vec<Arc<Generation>> {
        let generation = |(at, &(step, key)): (usize, &(Step, Option<u32>))| {
            Arc::new(Generation { number: at as u64 + 1, step, key, ..Generation::default() })
        };
        generations.iter().enumerate().map(generation).collect()
    }

    fn keys(in_force: u32, other: Option<u32>) -> KeyPrints {
        KeyPrints { in_force, other }
    }

    #[test]
    fn keys_follow_the_steps_of_a_roll_over() {
        use Step::{Learn, Settled, Switch};
        let known = (keys(A, None), Some(B));
        let (a, b) = (Some(A), Some(B));
        for ((before, given), generations, after, lacks, acknowledged) in [
            (known, &[(Settled, a)][..], keys(A, None), None, 1),
            (known, &[(Settled, a), (Learn, b)], keys(A, b), None, 2),
            (known, &[(Settled, a), (Switch, b)], keys(B, a), None, 2),
            (known, &[(Settled, b)], keys(B, None), None, 1),
            // It has both, whatever it is given by now.
            ((keys(A, b), a), &[(Settled, a), (Switch, b)], keys(B, a), None, 2),
            ((keys(B, a), Some(C)), &[(Settled, a), (Settled, b)], keys(B, a), None, 2),
            ((keys(B, a), b), &[(Settled, b)], keys(B, None), None, 1),
            // It does not know what comes, or what there is.
            ((keys(A, None), a), &[(Settled, a), (Learn, b)], keys(A, None), None, 1),
            ((keys(A, None), a), &[(Settled, a), (Switch, b)], keys(A, None), b, 1),
            ((keys(B, None), b), &[(Settled, a), (Switch, b)], keys(B, None), a, 1),
            ((keys(C, None), None), &[(Settled, a)], keys(C, None), a, 0),
            // Nothing is said of them.
            (known, &[], keys(A, None), None, 0),
            ((keys(A, b), b), &[(Settled, None)], keys(A, b), None, 1),
            ((keys(A, b), b), &[(Settled, None), (Switch, b)], keys(B, a), None, 2),
        ] {
            let found = before.follow(&history(generations), given);
            let found = (found.keys, found.lacks, found.known.len());
            assert_eq!(found, (after, lacks, acknowledged), "{before:?} given {given:?}: {generations:?}");
        }
    }

    #[test]
    fn what_is_told_names_the_keys_and_the_source() {
        let told = |in_force, other, given, lacks| {
            let source = "/etc/edgelb/hash-key".to_owned();
            let keys = Some(keys(in_force, other));
            FlowKeys { keys, given: Some(given), source, lacks, ..FlowKeys::default() }
        };
        assert_eq!(FlowKeys::default().words(), None);
        assert_eq!(told(A, None, A, None).words(), None);
        let lacking = told(A, None, A, Some(B));
        let doubting = FlowKeys { is_doubted: true, ..lacking.clone() };
        assert_eq!((lacking.are_wanting(), lacking.doubted()), (true, None));
        assert_eq!((doubting.are_wanting(), doubting.doubted()), (false, Some(B)));
        for (words, parts) in [
            (told(A, None, B, None), ["0000000b of /etc/edgelb/hash-key waits", "open by 0000000a"]),
            (told(A, Some(B), B, None), ["0000000b of /etc/edgelb/hash-key is known", "open by 0000000a"]),
            (told(B, Some(A), B, None), ["0000000b is in force", "0000000a is kept"]),
            (told(B, Some(A), C, None), ["0000000c of /etc/edgelb/hash-key waits", "open by 0000000b"]),
            (lacking, ["0000000b, by which", "not known here, where 0000000a"]),
            (doubting, ["0000000b, by which", "goes on by 0000000a for 15 s"]),
        ] {
            let words = words.words().expect("there is something to say");
            assert!(parts.iter().all(|part| words.contains(part)), "{words}");
            assert!(!words.contains("; "), "what is amiss is told one by one, parted so");
        }
    }
}
