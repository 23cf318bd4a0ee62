//! How fast: jitter, back-off, and a bucket of tokens.

use std::time::{Duration, Instant};

/// The first wait after a failure; it doubles with each.
const FIRST: Duration = Duration::from_millis(500);

/// The longest.
const LONGEST: Duration = Duration::from_secs(30);

/// A tenth more or less, so that agents do not ask in step.
pub(super) fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(0.9 + fastrand::f64() * 0.2)
}

/// How long to wait after so many failures in a row, one or more.
pub(super) fn backoff(failures: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    jittered(doubled.min(LONGEST))
}

/// Tokens that come back at a steady rate: a request takes one.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A full one. At most `burst` tokens are saved up.
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        Self { per_second: f64::from(per_second.max(1)), burst, tokens: burst, at: now }
    }

    /// Takes a token; or says after how long there will be one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + since * self.per_second).min(self.burst);
        self.at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound() {
        for (failures, seconds) in [(1, 0.5), (2, 1.0), (3, 2.0), (8, 30.0), (u32::MAX, 30.0)] {
            let wait = backoff(failures).as_secs_f64();
            assert!((seconds * 0.9..=seconds * 1.1).contains(&wait), "{failures}: {wait}");
        }
    }

    #[test]
    fn tokens_come_back() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 2, start);
        assert_eq!([bucket.take(start), bucket.take(start)], [Ok(()); 2]);
        assert_eq!(bucket.take(start), Err(Duration::from_millis(100)));
        let later = start + Duration::from_secs(60);
        let taken = (0..5).filter(|_| bucket.take(later).is_ok()).count();
        assert_eq!(taken, 2, "no more than the burst is saved up");
    }
}
