//! Series of routes and Services: as many as there may be, one for all others, and none of what is gone.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

/// What stands for all that have no series of their own: no object has an empty namespace.
const OTHER: &str = "other";

/// Those beyond the limit that are kept before it is asked which of them are still there.
const FEW: usize = 64;

/// By the values of so many labels, the first of which is the namespace.
#[derive(Debug)]
pub(super) struct Series<const N: usize, T> {
    of: &'static str,
    limit: usize,
    known: BTreeMap<Key<N>, Weak<T>>,
    other: Arc<T>,
    /// Those that have no series of their own.
    beyond: Vec<(Key<N>, Weak<Slot<T>>)>,
    /// When there are so many, those that are gone are forgotten.
    prune_at: usize,
    is_told: bool,
}

type Key<const N: usize> = [Box<str>; N];

/// Where something is counted. Its series lasts as long as anybody has it.
#[derive(Debug)]
pub struct Counts<T>(Arc<Slot<T>>);

#[derive(Debug)]
struct Slot<T> {
    /// Empty as long as there is no room for it.
    own: OnceLock<Arc<T>>,
    other: Arc<T>,
}

/// What there is at one moment.
pub(super) struct All<const N: usize, T> {
    /// With their labels' values. That of the others is there once it was needed.
    pub(super) series: Vec<(Key<N>, Arc<T>)>,
    /// How many share that one.
    pub(super) beyond: usize,
}

impl<const N: usize, T: Default> Series<N, T> {
    /// None yet, and none may be.
    pub(super) fn new(of: &'static str) -> Self {
        let (known, other, beyond) = (BTreeMap::new(), Arc::default(), Vec::new());
        Self { of, limit: 0, known, other, beyond, prune_at: FEW, is_told: false }
    }

    /// There may be so many.
    pub(super) fn limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Where this one is counted; nowhere if nothing is to be.
    pub(super) fn of(&mut self, values: [&str; N]) -> Option<Counts<T>> {
        if self.limit == 0 {
            return None;
        }
        let key = values.map(Box::from);
        let slot = Arc::new(Slot { own: OnceLock::new(), other: self.other.clone() });
        match self.place(&key) {
            Some(own) => _ = slot.own.set(own),
            None => self.wait(key, &slot),
        }
        Some(Counts(slot))
    }

    /// Its own, if it has one or there is room for it.
    fn place(&mut self, key: &Key<N>) -> Option<Arc<T>> {
        if let Some(known) = self.known.get(key).and_then(Weak::upgrade) {
            return Some(known);
        }
        if self.known.len() >= self.limit {
            self.forget();
        }
        if self.known.len() >= self.limit {
            return None;
        }
        let made = Arc::default();
        self.known.insert(key.clone(), Arc::downgrade(&made));
        Some(made)
    }

    fn wait(&mut self, key: Key<N>, slot: &Arc<Slot<T>>) {
        if !std::mem::replace(&mut self.is_told, true) {
            let (of, limit) = (self.of, self.limit);
            tracing::warn!(
                of,
                limit,
                "no more series: further ones are counted as `other` (--route-metrics)"
            );
        }
        self.beyond.push((key, Arc::downgrade(slot)));
        if self.beyond.len() > self.prune_at {
            self.beyond.retain(|(_, slot)| slot.strong_count() > 0);
            self.prune_at = 2 * self.beyond.len() + FEW;
        }
    }

    /// Forgets what nobody counts any more.
    fn forget(&mut self) {
        self.known.retain(|_, tally| tally.strong_count() > 0);
    }

    /// All of now. Where there is room again, those beyond the limit come to series of their own.
    pub(super) fn all(&mut self) -> All<N, T> {
        self.forget();
        for (key, slot) in std::mem::take(&mut self.beyond) {
            let Some(waiting) = slot.upgrade() else { continue };
            match self.place(&key) {
                Some(own) => _ = waiting.own.set(own),
                None => self.beyond.push((key, slot)),
            }
        }
        let known = self.known.iter().filter_map(|(key, tally)| Some((key.clone(), tally.upgrade()?)));
        let mut names = [""; N].map(|_| Box::from(OTHER));
        names[0] = Box::default();
        let other = self.is_told.then(|| (names, self.other.clone()));
        All { series: other.into_iter().chain(known).collect(), beyond: self.beyond.len() }
    }
}

impl<T> Counts<T> {
    /// Where it is counted now.
    pub fn now(&self) -> &Arc<T> {
        self.0.own.get().unwrap_or(&self.0.other)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn series(limit: usize) -> Series<2, AtomicU64> {
        let mut series = Series::new("test");
        series.limit(limit);
        series
    }

    /// All, with what they counted, and those that have none.
    fn told(series: &mut Series<2, AtomicU64>) -> (Vec<(String, u64)>, usize) {
        let All { series, beyond } = series.all();
        let told = series.iter().map(|(key, tally)| (key.join("/"), tally.load(Ordering::Relaxed)));
        (told.collect(), beyond)
    }

    fn count(counts: &Counts<AtomicU64>) {
        counts.now().fetch_add(1, Ordering::Relaxed);
    }

    fn named(all: &[(&str, u64)]) -> Vec<(String, u64)> {
        all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn those_beyond_the_limit_share_one_until_there_is_room() {
        let mut series = series(2);
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| series.of(["x", name]).expect("it is on"));
        [&a, &b, &c, &d].into_iter().for_each(count);
        assert_eq!(told(&mut series), (named(&[("/other", 2), ("x/a", 1), ("x/b", 1)]), 2));
        drop(a);
        assert_eq!(told(&mut series), (named(&[("/other", 2), ("x/b", 1), ("x/c", 0)]), 1));
        count(&c);
        drop((b, d));
        assert_eq!(told(&mut series), (named(&[("/other", 2), ("x/c", 1)]), 0));
    }

    #[test]
    fn a_series_lasts_as_long_as_somebody_has_it() {
        let mut series = series(1);
        let first = series.of(["x", "a"]).expect("it is on");
        count(&first);
        let second = series.of(["x", "a"]).expect("it is on");
        drop(first);
        assert_eq!(second.now().load(Ordering::Relaxed), 1, "the same");
        drop(second);
        let next = series.of(["x", "b"]).expect("it is on");
        count(&next);
        assert_eq!(told(&mut series), (named(&[("x/b", 1)]), 0), "it has the place");
    }

    #[test]
    fn who_is_gone_does_not_wait_for_ever() {
        let mut series = series(1);
        let _first = series.of(["x", "a"]).expect("it is on");
        for number in 0..10_000 {
            series.of(["x", &number.to_string()]).expect("it is on");
        }
        assert!(series.beyond.len() <= FEW + 1, "{}", series.beyond.len());
    }

    #[test]
    fn with_no_room_at_all_nothing_is_counted() {
        assert!(series(0).of(["x", "a"]).is_none());
    }
}
