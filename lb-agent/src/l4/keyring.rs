//! The flow keys that a node knows, and which of them it goes by: kept from the agent before, given since, and named by
//! the history. Pure.

use std::sync::Arc;

use lb_common::hash::FlowKey;

use super::keys::{Keys, fingerprint};
use crate::model::{Generation, KeyPrints};

/// All that a node knows.
#[derive(Clone, Copy, Debug)]
pub struct Keyring {
    keys: Keys,
    given: Option<FlowKey>,
}

impl Keyring {
    /// Those by which the node goes at first.
    #[must_use]
    pub const fn new(keys: Keys) -> Self {
        Self { keys, given: None }
    }

    /// Those by which the node goes.
    #[must_use]
    pub const fn keys(&self) -> Keys {
        self.keys
    }

    /// They, told.
    #[must_use]
    pub fn prints(&self) -> KeyPrints {
        prints(&self.keys)
    }

    /// That of the key that was given last.
    #[must_use]
    pub fn given(&self) -> Option<u32> {
        self.given.as_ref().map(fingerprint)
    }

    /// Takes note of the key that the Secret or the file has now. One that is gone changes nothing.
    pub fn give(&mut self, key: Option<FlowKey>) {
        self.given = key.or(self.given);
    }

    /// Goes by what a history says. The key that flows of it have and this node does not know, if there is one.
    pub fn follow(&mut self, generations: &[Arc<Generation>]) -> Option<u32> {
        let followed = self.prints().follow(generations, self.given());
        self.take(followed.keys);
        followed.lacks
    }

    /// Goes by these, which an agent of this node went by.
    pub fn go_by(&mut self, keys: Keys) {
        self.keys = keys;
    }

    /// Goes by these, of those that it knows.
    pub fn take(&mut self, keys: KeyPrints) {
        let Keys { in_force, other } = self.keys;
        let known = [Some(in_force), other, self.given];
        let find = |print: u32| known.into_iter().flatten().find(|key| fingerprint(key) == print);
        if let Some(in_force) = find(keys.in_force) {
            self.keys = Keys { in_force, other: keys.other.and_then(find) };
        }
    }
}

/// Keys, told by fingerprints.
#[must_use]
pub fn prints(keys: &Keys) -> KeyPrints {
    KeyPrints { in_force: fingerprint(&keys.in_force), other: keys.other.as_ref().map(fingerprint) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l4::keys::derive;
    use crate::model::Step;

    #[test]
    fn a_ring_goes_by_the_keys_that_a_history_names() {
        let [first, second, third] =
            [&b"the first of some keys"[..], b"the second", b"the third"].map(derive);
        let generation = |number, step, key| {
            Arc::new(Generation { number, step, key: Some(fingerprint(key)), ..Generation::default() })
        };
        let mut ring = Keyring::new(Keys::only(first));
        let before = generation(1, Step::Settled, &first);
        let learned = [Arc::clone(&before), generation(2, Step::Learn, &second)];
        assert_eq!(ring.follow(&learned), None);
        assert!(ring.keys() == Keys::only(first), "it does not know the other one");
        ring.give(Some(second));
        assert_eq!(ring.follow(&learned), None);
        assert!(ring.keys() == Keys { in_force: first, other: Some(second) });
        // By now it is given another one, or none.
        ring.give(None);
        ring.give(Some(third));
        assert_eq!(ring.follow(&[before, generation(2, Step::Switch, &second)]), None);
        assert!(ring.keys() == Keys { in_force: second, other: Some(first) });
        assert_eq!(ring.follow(&[generation(2, Step::Settled, &second)]), None);
        assert!(ring.keys() == Keys::only(second));
        assert_eq!(ring.follow(&[generation(3, Step::Settled, &first)]), Some(fingerprint(&first)));
        assert!(ring.keys() == Keys::only(second), "nobody gives it the first one back");
    }
}
