//! When something happened, by the clock on the wall: requests know it by the steady one alone.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall's clock may be set, so it is looked at again so often.
const LOOK: Duration = Duration::from_secs(1);

/// A moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    at: Instant,
    time: SystemTime,
}

impl Clock {
    /// Of now.
    pub(super) fn now() -> Self {
        Self { at: Instant::now(), time: SystemTime::now() }
    }

    /// Looks at both again, if the last look was some time ago. Whether it did.
    pub(super) fn look(&mut self) -> bool {
        let is_due = self.at.elapsed() >= LOOK;
        if is_due {
            *self = Self::now();
        }
        is_due
    }

    /// The time of day at this moment.
    pub(super) fn time_of(&self, moment: Instant) -> SystemTime {
        match moment.checked_duration_since(self.at) {
            Some(later) => self.time + later,
            None => self.time - self.at.saturating_duration_since(moment),
        }
    }

    /// The same in nanoseconds since 1970.
    pub(super) fn nanos_of(&self, moment: Instant) -> u128 {
        self.time_of(moment).duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
    }
}
