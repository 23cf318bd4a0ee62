//! Shared values by what they were made of, each one once: whoever still holds the value finds it again.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;

/// Values that are kept before it is asked which of them are still in use.
const FEW: usize = 64;

/// Knows what was made as long as somebody holds it.
pub(super) struct InUse<K, T> {
    made: HashMap<K, Weak<T>, RandomState>,
    /// When there are so many, those that nobody uses are forgotten.
    limit: usize,
}

/// A shared value by its place in memory. It stays there: no other one can have its place.
pub(super) struct Place<S>(pub(super) Arc<S>);

impl<K: Eq + Hash, T> InUse<K, T> {
    /// What this became, made now if it was not yet.
    pub(super) fn of(&mut self, key: K, make: impl FnOnce(&K) -> T) -> Arc<T> {
        if let Some(made) = self.made.get(&key).and_then(Weak::upgrade) {
            return made;
        }
        let made = Arc::new(make(&key));
        self.made.insert(key, Arc::downgrade(&made));
        made
    }

    /// Forgets what nobody uses any more; looks for it so rarely that it costs nothing to call this often.
    pub(super) fn forget_unused(&mut self) {
        if self.made.len() > self.limit {
            self.made.retain(|_, made| made.strong_count() > 0);
            self.limit = 2 * self.made.len() + FEW;
        }
    }
}

impl<K, T> Default for InUse<K, T> {
    fn default() -> Self {
        Self { made: HashMap::default(), limit: FEW }
    }
}

impl<S> PartialEq for Place<S> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<S> Eq for Place<S> {}

impl<S> Hash for Place<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_not_made_twice() {
        let mut known = InUse::default();
        let sources: Vec<Arc<usize>> = (0..200).map(Arc::new).collect();
        let made: Vec<_> =
            sources.iter().map(|source| known.of(Place(source.clone()), |Place(it)| **it)).collect();
        known.forget_unused();
        for (source, made) in sources.iter().zip(&made) {
            let again = known.of(Place(source.clone()), |_| unreachable!("it is there"));
            assert!(Arc::ptr_eq(&again, made));
        }
    }

    #[test]
    fn equal_sources_in_two_places_are_two() {
        let mut known = InUse::default();
        let [one, other] = [Arc::new(7), Arc::new(7)].map(|it| known.of(Place(it), |Place(it)| **it));
        assert!(!Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn what_is_not_in_use_goes() {
        let mut known = InUse::default();
        for number in 0..10_000 {
            known.of(Place(Arc::new(number)), |Place(it)| **it);
            known.forget_unused();
        }
        assert!(known.made.len() <= FEW + 1);
    }
}
