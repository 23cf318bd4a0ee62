//! How often the packet path answers or lets others answer what means nothing to it: a token bucket, kept as the
//! one time at which it will be full again.

/// What is limited; each CPU has a bucket for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Limit {
    /// Messages that a packet is too big.
    TooBig = 0,
    /// Packets that the kernel is to refuse: each costs it a RST or a message.
    Refusal = 1,
    /// Fragments that the agent is to hold until their first part has come.
    Hold = 2,
    /// Packets that the agent is to cut.
    Cut = 3,
    /// Messages that a packet has no hop left.
    Expired = 4,
}

/// Buckets of each CPU.
pub const LIMITS: u32 = 5;

/// Nanoseconds after which there is one token more: 1,000 a second and CPU.
pub const INTERVAL: u64 = 1_000_000;

/// Tokens of a full bucket.
pub const BURST: u64 = 64;

/// Takes a token at the time `now` (nanoseconds of a clock that never goes back) from the bucket that is full at
/// `full`; false if there is none.
#[inline(always)]
#[must_use]
pub const fn take(full: &mut u64, now: u64) -> bool {
    let from = if *full > now { *full } else { now };
    if from - now > (BURST - 1) * INTERVAL {
        return false;
    }
    *full = from + INTERVAL;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(full: &mut u64, now: u64) -> u64 {
        (0..10 * BURST).map(|_| u64::from(take(full, now))).sum()
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut full = 0;
        assert_eq!(taken(&mut full, 5), BURST);
        assert_eq!(taken(&mut full, 5 + INTERVAL - 1), 0);
        assert_eq!(taken(&mut full, 5 + INTERVAL), 1);
        assert_eq!(taken(&mut full, 5 + 11 * INTERVAL), 10);
        assert_eq!(taken(&mut full, 1 << 60), BURST, "no more than a burst, however long it was quiet");
    }
}
