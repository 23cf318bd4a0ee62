//! Tables that several processors make at the same time.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

/// What `make` makes of each, in order. By this thread alone if there is one of them, or one processor.
pub fn map<T: Send, R: Send>(items: impl IntoIterator<Item = T>, make: impl Fn(T) -> R + Sync) -> Vec<R> {
    let items: Vec<_> = items.into_iter().collect();
    // Asked only when it matters: the answer is in files.
    let processors = || thread::available_parallelism().map_or(1, NonZero::get);
    let others = if items.len() > 1 { processors().min(items.len()) - 1 } else { 0 };
    let left = Mutex::new(items.into_iter().enumerate());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> Vec<_> { std::iter::from_fn(next).map(|(at, item)| (at, make(item))).collect() };
    let mut made = thread::scope(|scope| {
        // Where no thread can be had, those that there are do it all.
        let others: Vec<_> =
            (0..others).filter_map(|_| Builder::new().spawn_scoped(scope, work).ok()).collect();
        let mut made = work();
        for other in others {
            made.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        made
    });
    made.sort_unstable_by_key(|(at, _)| *at);
    made.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn all_are_made_and_in_order() {
        for count in [0, 1, 2, 3, 100] {
            assert_eq!(map(0..count, |item| item * 2), (0..count).map(|item| item * 2).collect::<Vec<_>>());
        }
    }

    /// Each waits for the others: by one thread alone, this would not end.
    #[test]
    fn as_many_at_once_as_there_are_processors() {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let all_are_there = Barrier::new(processors);
        let threads = map(0..processors, |_| {
            all_are_there.wait();
            thread::current().id()
        });
        assert_eq!(threads.iter().map(|id| format!("{id:?}")).collect::<BTreeSet<_>>().len(), processors);
    }

    #[test]
    fn one_is_made_by_this_thread() {
        assert_eq!(map([()], |()| thread::current().id()), [thread::current().id()]);
    }

    #[test]
    #[should_panic(expected = "the third")]
    fn a_panic_is_passed_on() {
        map(0..4, |item| assert_ne!(item, 2, "the third"));
    }
}
