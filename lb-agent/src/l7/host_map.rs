//! Values by host name, in parts that a map shares with its clones: one changed host of ten thousand copies one
//! part. A look-up hashes the name once, as with an ordinary map.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Names in a part, on average, when parts are made.
const PART: usize = 32;

/// So many times as many or as few names as parts were made for, and parts are made anew.
const SLACK: usize = 4;

type Part<V> = HashTable<(Box<str>, V)>;

#[derive(Clone, Debug)]
pub(super) struct HostMap<V> {
    /// A power of two of them.
    parts: Box<[Arc<Part<V>>]>,
    hasher: RandomState,
    len: usize,
}

impl<V> HostMap<V> {
    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&V> {
        let hash = self.hasher.hash_one(name);
        let part = &self.parts[place(hash, self.parts.len())];
        part.find(hash, |(found, _)| **found == *name).map(|(_, value)| value)
    }
}

/// The part of a hash: by bits that the tables themselves do not begin with.
fn place(hash: u64, parts: usize) -> usize {
    (hash >> 32) as usize & (parts - 1)
}

impl<V: Clone> HostMap<V> {
    /// Sets the value of a name.
    pub(super) fn insert(&mut self, name: &str, value: V) {
        let (hash, hasher) = (self.hasher.hash_one(name), &self.hasher);
        let at = place(hash, self.parts.len());
        let part = Arc::make_mut(&mut self.parts[at]);
        match part.find_mut(hash, |(found, _)| **found == *name) {
            Some((_, place)) => *place = value,
            None => {
                part.insert_unique(hash, (name.into(), value), |(name, _)| hasher.hash_one(&**name));
                self.len += 1;
                self.fit();
            }
        }
    }

    /// Removes a name.
    pub(super) fn remove(&mut self, name: &str) {
        let hash = self.hasher.hash_one(name);
        let at = place(hash, self.parts.len());
        if self.parts[at].find(hash, |(found, _)| **found == *name).is_none() {
            return;
        }
        let part = Arc::make_mut(&mut self.parts[at]);
        if let Ok(entry) = part.find_entry(hash, |(found, _)| **found == *name) {
            entry.remove();
            self.len -= 1;
            self.fit();
        }
    }

    /// Makes as many parts as the names are worth.
    fn fit(&mut self) {
        let (now, wanted) = (self.parts.len(), (self.len / PART).next_power_of_two());
        if wanted <= now * SLACK && now <= wanted * SLACK {
            return;
        }
        let hasher = &self.hasher;
        let mut parts: Vec<Part<V>> = (0..wanted).map(|_| Part::new()).collect();
        for (name, value) in self.parts.iter().flat_map(|part| part.iter()) {
            let hash = hasher.hash_one(&**name);
            let entry = (name.clone(), value.clone());
            parts[place(hash, wanted)].insert_unique(hash, entry, |(name, _)| hasher.hash_one(&**name));
        }
        self.parts = parts.into_iter().map(Arc::new).collect();
    }
}

impl<V> Default for HostMap<V> {
    fn default() -> Self {
        Self { parts: Box::new([Arc::new(Part::new())]), hasher: RandomState::default(), len: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn name(number: u16) -> String {
        format!("host-{number}.example.org")
    }

    fn check(map: &HostMap<u8>, model: &BTreeMap<u16, u8>) {
        assert_eq!(map.len(), model.len());
        assert!((0..2_000).all(|number| map.get(&name(number)) == model.get(&number)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn it_is_a_map_and_its_clones_stay(
            steps in prop::collection::vec((0..2_000_u16, prop::option::weighted(0.7, 0..3_u8)), 0..3_000),
            clone_at in 0..3_000_usize,
        ) {
            let (mut map, mut model) = (HostMap::default(), BTreeMap::new());
            let mut before = (map.clone(), model.clone());
            for (at, (number, value)) in steps.into_iter().enumerate() {
                match value {
                    Some(value) => {
                        map.insert(&name(number), value);
                        model.insert(number, value);
                    }
                    None => {
                        map.remove(&name(number));
                        model.remove(&number);
                    }
                }
                if at == clone_at {
                    before = (map.clone(), model.clone());
                }
            }
            check(&map, &model);
            check(&before.0, &before.1);
        }
    }

    #[test]
    fn a_change_copies_one_part() {
        let mut map = HostMap::default();
        (0..10_000).for_each(|number| map.insert(&name(number), number));
        let before = map.clone();
        map.insert(&name(10_000), 0);
        map.remove("nobody");
        let shared = map.parts.iter().zip(&before.parts).filter(|(one, other)| Arc::ptr_eq(one, other));
        assert_eq!(shared.count(), map.parts.len() - 1);
        let largest = map.parts.iter().map(|part| part.len()).max().unwrap_or_default();
        assert!(largest < 8 * PART, "{largest}");
    }
}
