//! A sorted map whose clones share all that they have in common: to clone it costs nothing, to change one entry of
//! ten thousand some microseconds, and two of them are compared by what differs.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Entries that are copied together when one of them changes.
const CHUNK: usize = 64;

type Chunk<K, V> = Vec<(K, V)>;

/// A persistent map: sorted entries in chunks of bounded size, each shared until it changes.
pub struct SharedMap<K, V> {
    /// None of them is empty.
    chunks: Arc<Vec<Arc<Chunk<K, V>>>>,
    len: usize,
}

/// A key with what it stood for before and what it stands for now; not both are `None`.
pub type Difference<'a, K, V> = (&'a K, Option<&'a V>, Option<&'a V>);

impl<K, V> SharedMap<K, V> {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entries, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> + Clone {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(|(key, value)| (key, value))
    }

    /// The keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &K> + Clone {
        self.iter().map(|(key, _)| key)
    }

    /// The values, sorted by key.
    pub fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = &self.chunks[self.place(key)?];
        let at = find(chunk, key).ok()?;
        Some(&chunk[at].1)
    }

    /// The chunk in which the key is, if it is anywhere; `None` if it would be the first of all.
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        self.chunks.partition_point(|chunk| chunk[0].0.borrow() <= key).checked_sub(1)
    }
}

fn find<K: Borrow<Q>, V, Q: Ord + ?Sized>(chunk: &Chunk<K, V>, key: &Q) -> Result<usize, usize> {
    chunk.binary_search_by(|(found, _)| found.borrow().cmp(key))
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Sets the value of a key; gives back the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let place = self.place(&key).unwrap_or_default();
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(&mut chunks[place]);
        match find(chunk, &key) {
            Ok(at) => return Some(std::mem::replace(&mut chunk[at].1, value)),
            Err(at) => chunk.insert(at, (key, value)),
        }
        if chunk.len() == CHUNK {
            let upper = chunk.split_off(CHUNK / 2);
            chunk.shrink_to_fit();
            chunks.insert(place + 1, Arc::new(upper));
        }
        self.len += 1;
        None
    }

    /// Removes a key; gives back its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key)?;
        let at = find(&self.chunks[place], key).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let (_, value) = Arc::make_mut(&mut chunks[place]).remove(at);
        self.len -= 1;
        join(chunks, place);
        Some(value)
    }
}

/// Removes the chunk if it is empty, and joins it with the next where both together are small.
fn join<K: Clone, V: Clone>(chunks: &mut Vec<Arc<Chunk<K, V>>>, place: usize) {
    if chunks[place].is_empty() {
        chunks.remove(place);
        return;
    }
    let is_small = |next: &Arc<Chunk<K, V>>| chunks[place].len() + next.len() <= CHUNK / 2;
    if chunks.get(place + 1).is_some_and(is_small) {
        let next = chunks.remove(place + 1);
        Arc::make_mut(&mut chunks[place]).extend(next.iter().cloned());
    }
}

impl<K: Ord, V: PartialEq> SharedMap<K, V> {
    /// What differs from `before`, sorted by key. What both share is passed over without a look.
    pub fn changes<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = Difference<'a, K, V>> {
        let (mut old, mut new) = (Cursor::new(before), Cursor::new(self));
        if Arc::ptr_eq(&self.chunks, &before.chunks) {
            (old.chunks, new.chunks) = (&[], &[]);
        }
        std::iter::from_fn(move || next_change(&mut old, &mut new))
    }
}

fn next_change<'a, K: Ord, V: PartialEq>(
    old: &mut Cursor<'a, K, V>,
    new: &mut Cursor<'a, K, V>,
) -> Option<Difference<'a, K, V>> {
    loop {
        if old.is_with(new) {
            (old.chunks, new.chunks) = (&old.chunks[1..], &new.chunks[1..]);
            continue;
        }
        let order = match (old.peek(), new.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((one, _)), Some((other, _))) => one.cmp(other),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        let (before_value, after_value) = (before.map(|(_, value)| value), after.map(|(_, value)| value));
        if before_value != after_value {
            let (key, _) = before.or(after)?;
            return Some((key, before_value, after_value));
        }
    }
}

/// A place in a map.
struct Cursor<'a, K, V> {
    chunks: &'a [Arc<Chunk<K, V>>],
    at: usize,
}

impl<'a, K, V> Cursor<'a, K, V> {
    fn new(map: &'a SharedMap<K, V>) -> Self {
        Self { chunks: &map.chunks, at: 0 }
    }

    fn peek(&self) -> Option<(&'a K, &'a V)> {
        let (key, value) = self.chunks.first()?.get(self.at)?;
        Some((key, value))
    }

    fn next(&mut self) -> Option<(&'a K, &'a V)> {
        let found = self.peek()?;
        self.at += 1;
        if self.at == self.chunks[0].len() {
            (self.chunks, self.at) = (&self.chunks[1..], 0);
        }
        Some(found)
    }

    /// Whether both are at the start of one and the same chunk.
    fn is_with(&self, other: &Self) -> bool {
        let (Some(own), Some(others)) = (self.chunks.first(), other.chunks.first()) else { return false };
        self.at == 0 && other.at == 0 && Arc::ptr_eq(own, others)
    }
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self { chunks: Arc::clone(&self.chunks), len: self.len }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { chunks: Arc::default(), len: 0 }
    }
}

impl<K: Ord, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.changes(other).next().is_none()
    }
}

impl<K: Ord, V: Eq> Eq for SharedMap<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'a, K, V> IntoIterator for &'a SharedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Box<dyn Iterator<Item = (&'a K, &'a V)> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        entries.into_iter().for_each(|(key, value)| drop(map.insert(key, value)));
        map
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<u16, u8>;

    fn apply(map: &mut SharedMap<u16, u8>, model: &mut Model, steps: &[(u16, Option<u8>)]) {
        for &(key, value) in steps {
            match value {
                Some(value) => assert_eq!(map.insert(key, value), model.insert(key, value)),
                None => assert_eq!(map.remove(&key), model.remove(&key)),
            }
        }
    }

    fn steps() -> impl Strategy<Value = Vec<(u16, Option<u8>)>> {
        prop::collection::vec((0..600_u16, prop::option::weighted(0.6, 0..3_u8)), 0..900)
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map(first in steps(), second in steps()) {
            let (mut map, mut model) = (SharedMap::default(), Model::new());
            apply(&mut map, &mut model, &first);
            let (before, model_before) = (map.clone(), model.clone());
            apply(&mut map, &mut model, &second);
            prop_assert!(map.iter().eq(model.iter()));
            prop_assert_eq!(map.len(), model.len());
            prop_assert!(before.iter().eq(model_before.iter()), "a clone stays as it was");
            prop_assert!((0..600).all(|key| map.get(&key) == model.get(&key)));
            let expected: Vec<_> = (0..600_u16)
                .filter(|key| model.get(key) != model_before.get(key))
                .map(|key| (key, model_before.get(&key).copied(), model.get(&key).copied()))
                .collect();
            let found: Vec<_> =
                map.changes(&before).map(|(key, old, new)| (*key, old.copied(), new.copied())).collect();
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(map == before, expected.is_empty());
            let rebuilt: SharedMap<u16, u8> = model.into_iter().collect();
            prop_assert_eq!(map, rebuilt, "however it came about");
        }
    }

    #[test]
    fn a_change_copies_one_chunk() {
        let map: SharedMap<u32, u32> = (0..10_000).map(|key| (key, key)).collect();
        let mut changed = map.clone();
        changed.insert(5_000, 0);
        let shared =
            map.chunks.iter().filter(|chunk| changed.chunks.iter().any(|own| Arc::ptr_eq(own, chunk)));
        assert_eq!(shared.count(), map.chunks.len() - 1);
    }
}
