//! Which share of new work is refused: a controller like PIE (RFC 8033), of which the delay in front of a worker is the
//! input. It counts only while it does not go away: a burst that is worked off is none of its business.

use std::time::Duration;

/// Looks over which a delay must stand.
const STANDING: usize = 10;

/// Of what the delay is over its limit (1 is the limit itself), so much is added at each look.
const BY_DEVIATION: f64 = 0.02;
/// The same for what the delay grew since the last look.
const BY_GROWTH: f64 = 0.1;
/// A longer delay says no more than this, in limits.
const MOST: f64 = 4.0;
/// Never everything: else nobody would see that it is over.
const MAX_SHARE: f64 = 0.95;

/// The controller's state.
#[derive(Debug, Default)]
pub(super) struct Shedding {
    delays: [Duration; STANDING],
    next: usize,
    last: f64,
    share: f64,
}

impl Shedding {
    /// The share to refuse, of 65,536, after one more look.
    pub(super) fn after(&mut self, delay: Duration, limit: Duration) -> u16 {
        self.delays[self.next] = delay;
        self.next = (self.next + 1) % STANDING;
        let standing = self.delays.iter().min().copied().unwrap_or_default();
        let now = (standing.as_secs_f64() / limit.as_secs_f64().max(1e-3)).min(MOST);
        let change = BY_DEVIATION * (now - 1.0) + BY_GROWTH * (now - self.last);
        self.last = now;
        self.share = (self.share + change).clamp(0.0, MAX_SHARE);
        of_all(self.share)
    }

    /// Whether nothing is refused, and nothing stands.
    pub(super) fn is_quiet(&self) -> bool {
        self.share == 0.0 && self.last < 0.5
    }
}

/// The share to refuse with so many percent of the memory in use: none up to the limit, nearly everything half-way from
/// there to where the kernel ends us.
pub(super) fn by_memory(percent: u64, limit: u64) -> u16 {
    let room = 100_u64.saturating_sub(limit).max(2) as f64 / 2.0;
    of_all((percent.saturating_sub(limit) as f64 / room).min(MAX_SHARE))
}

fn of_all(share: f64) -> u16 {
    (share * f64::from(u16::MAX)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    fn after(shedding: &mut Shedding, looks: usize, millis: u64) -> u16 {
        (0..looks).map(|_| shedding.after(Duration::from_millis(millis), LIMIT)).last().unwrap_or_default()
    }

    #[test]
    fn a_burst_is_worked_off_and_a_standing_queue_is_not() {
        let mut shedding = Shedding::default();
        assert_eq!(after(&mut shedding, STANDING - 1, 5_000), 0, "it may go away yet");
        assert_eq!(after(&mut shedding, 1, 0), 0);
        assert_eq!(after(&mut shedding, 100, 150), 0, "within the limit");
        let first = after(&mut shedding, STANDING, 400);
        let second = after(&mut shedding, 10, 400);
        assert!(0 < first && first < second, "{first} {second}");
        assert!(after(&mut shedding, 1_000, 5_000) < u16::MAX, "some are always let in");
    }

    #[test]
    fn it_ends_when_the_queue_is_gone() {
        let mut shedding = Shedding::default();
        assert!(after(&mut shedding, 100, 1_000) > 0);
        assert!(!shedding.is_quiet());
        assert_eq!(after(&mut shedding, 60, 0), 0);
        assert!(shedding.is_quiet());
    }

    #[test]
    fn the_share_settles_where_the_delay_is_the_limit() {
        // A worker with half again as much work as it can do: the queue grows by what is not refused.
        let (mut shedding, mut queue) = (Shedding::default(), 0.0_f64);
        let mut shares = Vec::new();
        for _ in 0..2_000 {
            let share = shedding.after(Duration::from_secs_f64(queue), LIMIT);
            let taken = 1.5 * (1.0 - f64::from(share) / f64::from(u16::MAX));
            queue = (queue + 0.05 * (taken - 1.0)).max(0.0);
            shares.push(share);
        }
        let late = &shares[1_000..];
        let mean = late.iter().map(|&share| f64::from(share)).sum::<f64>() / late.len() as f64;
        let share = mean / f64::from(u16::MAX);
        assert!((0.28..0.40).contains(&share), "a third is too much: {share}");
        assert!(queue < 1.0, "{queue}");
    }

    #[test]
    fn memory_refuses_nothing_below_its_limit_and_nearly_all_before_the_end() {
        assert_eq!(by_memory(90, 90), 0);
        assert!(by_memory(92, 90) > 0);
        assert_eq!(by_memory(95, 90), of_all(MAX_SHARE));
        assert_eq!(by_memory(100, 100), 0, "switched off");
    }
}
