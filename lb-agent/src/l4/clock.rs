//! The clock that never goes back: it runs as long as the machine does, whatever agents come and go.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::sleep;

/// The time since the machine's start.
pub(crate) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).expect("every kernel has this clock")
}

/// Waits for a moment; for ever, if there is none.
pub(crate) async fn reach(moment: Option<Duration>) {
    match moment {
        Some(moment) => sleep(moment.saturating_sub(now())).await,
        None => std::future::pending().await,
    }
}
