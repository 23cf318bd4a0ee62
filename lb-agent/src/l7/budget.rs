//! How many requests of a backend may be sent a second time: retries must not be the load that keeps it down.

use std::cell::Cell;

/// Of the requests of the last while, in percent.
const SHARE: u32 = 20;

/// In any case, in each second.
const FEW: u32 = 5;

/// Seconds that the while has.
const SECONDS: usize = 10;

/// One backend's, of one worker.
#[derive(Default)]
pub(super) struct Budget {
    /// The seconds before this one, in a ring.
    before: Cell<[Second; SECONDS - 1]>,
    oldest: Cell<usize>,
    now: Cell<Second>,
}

#[derive(Clone, Copy, Default)]
struct Second {
    requests: u32,
    retries: u32,
}

impl Budget {
    /// A request comes.
    pub(super) fn request(&self) {
        let now = self.now.get();
        self.now.set(Second { requests: now.requests.saturating_add(1), ..now });
    }

    /// Whether one more may be sent again; it is counted.
    pub(super) fn take(&self) -> bool {
        let now = self.now.get();
        let (requests, retries) = self.before.get().iter().fold(
            (u64::from(now.requests), u64::from(now.retries)),
            |(requests, retries), second| {
                (requests + u64::from(second.requests), retries + u64::from(second.retries))
            },
        );
        let may = now.retries < FEW || (retries + 1) * 100 <= requests * u64::from(SHARE);
        if may {
            self.now.set(Second { retries: now.retries + 1, ..now });
        }
        may
    }

    /// A second has passed.
    pub(super) fn pass(&self) {
        let (mut before, oldest) = (self.before.get(), self.oldest.get());
        before[oldest] = self.now.take();
        self.before.set(before);
        self.oldest.set((oldest + 1) % before.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(budget: &Budget) -> u32 {
        (0..1000).filter(|_| budget.take()).count() as u32
    }

    #[test]
    fn a_few_may_always_and_else_a_share() {
        let budget = Budget::default();
        assert_eq!(taken(&budget), FEW);
        (0..200).for_each(|_| budget.request());
        assert_eq!(taken(&budget), 40 - FEW, "a fifth of 200");
        budget.pass();
        assert_eq!(taken(&budget), FEW, "a second later the fifth is used up still");
    }

    #[test]
    fn what_is_long_ago_does_not_count() {
        let budget = Budget::default();
        (0..200).for_each(|_| budget.request());
        (1..SECONDS).for_each(|_| budget.pass());
        assert_eq!(taken(&budget), 40);
        budget.pass();
        assert_eq!(taken(&budget), FEW);
    }
}
