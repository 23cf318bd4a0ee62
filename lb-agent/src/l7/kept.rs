//! What shared values of the model became, by their place in memory: whoever still holds the value finds it again.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;

/// Values that are kept before it is asked which of them are still in use.
const FEW: usize = 64;

/// Knows what was made as long as somebody holds it.
pub(super) struct Kept<S, T> {
    /// The source stays: no other one can have its place.
    made: HashMap<usize, (Arc<S>, Weak<T>), RandomState>,
    /// When there are so many, those that nobody uses are forgotten.
    limit: usize,
}

impl<S, T> Kept<S, T> {
    /// What the source became, made now if it was not yet.
    pub(super) fn of(&mut self, source: &Arc<S>, make: impl FnOnce(&Arc<S>) -> T) -> Arc<T> {
        let place = Arc::as_ptr(source).addr();
        if let Some(made) = self.made.get(&place).and_then(|(_, made)| made.upgrade()) {
            return made;
        }
        let made = Arc::new(make(source));
        self.made.insert(place, (Arc::clone(source), Arc::downgrade(&made)));
        made
    }

    /// Forgets what nobody uses any more; looks for it so rarely that it costs nothing to call this often.
    pub(super) fn forget_unused(&mut self) {
        if self.made.len() > self.limit {
            self.made.retain(|_, (_, made)| made.strong_count() > 0);
            self.limit = 2 * self.made.len() + FEW;
        }
    }
}

impl<S, T> Default for Kept<S, T> {
    fn default() -> Self {
        Self { made: HashMap::default(), limit: FEW }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_not_made_twice() {
        let mut kept = Kept::default();
        let sources: Vec<Arc<usize>> = (0..200).map(Arc::new).collect();
        let made: Vec<_> = sources.iter().map(|source| kept.of(source, |source| **source)).collect();
        kept.forget_unused();
        for (source, made) in sources.iter().zip(&made) {
            assert!(Arc::ptr_eq(&kept.of(source, |_| unreachable!("it is there")), made));
        }
    }

    #[test]
    fn what_is_not_in_use_goes() {
        let mut kept = Kept::default();
        for number in 0..10_000 {
            kept.of(&Arc::new(number), |number| **number);
            kept.forget_unused();
        }
        assert!(kept.made.len() <= FEW + 1);
    }
}
