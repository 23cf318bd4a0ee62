//! Signs of life of the agent's own stages: who is asked whether this node is alive says so only while each stage
//! has lately been seen to run. A stage knows its own `Beat`, the prober all of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A stage's sign of life: touched at least as often as was promised.
#[derive(Clone, Debug)]
pub struct Beat(Arc<AtomicU64>);

/// The signs of life of all stages.
#[derive(Clone, Debug, Default)]
pub struct Beats(Arc<Mutex<Vec<Watched>>>);

#[derive(Debug)]
struct Watched {
    name: String,
    beat: Beat,
    tolerance: Duration,
}

impl Beat {
    /// The stage runs.
    pub fn touch(&self) {
        self.0.store(now(), Ordering::Relaxed);
    }
}

impl Beats {
    /// A stage that begins now, and is taken for stuck when it has not touched its beat for longer than this.
    #[must_use]
    pub fn watch(&self, name: impl Into<String>, tolerance: Duration) -> Beat {
        let beat = Beat(Arc::new(AtomicU64::new(now())));
        let watched = Watched { name: name.into(), beat: beat.clone(), tolerance };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
        beat
    }

    /// The first stage that has been silent for too long.
    #[must_use]
    pub fn stuck(&self) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        let is_stuck = |watched: &&Watched| {
            let silent = now.saturating_sub(watched.beat.0.load(Ordering::Relaxed));
            Duration::from_millis(silent) > watched.tolerance
        };
        all.iter().find(is_stuck).map(|watched| watched.name.clone())
    }
}

/// Milliseconds by a clock that is never set.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_touches_nothing_is_stuck() {
        let beats = Beats::default();
        assert_eq!(beats.stuck(), None);
        let _patient = beats.watch("patient", Duration::from_secs(3600));
        let hasty = beats.watch("hasty", Duration::from_millis(20));
        hasty.touch();
        let end = Instant::now() + Duration::from_secs(5);
        while beats.stuck().is_none() && Instant::now() < end {
            std::thread::yield_now();
        }
        assert_eq!(beats.stuck().as_deref(), Some("hasty"));
        hasty.touch();
        assert_eq!(beats.stuck(), None);
    }
}
