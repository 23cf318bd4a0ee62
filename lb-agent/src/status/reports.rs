//! Asks the source for its report, at the leader's pace: soon after a change, and now and then.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Inputs;
use crate::model::Report;

/// What the source sees of our own writes is no change of the state: it is asked without one.
const NOW_AND_THEN: Duration = Duration::from_secs(5);

/// Changes come in groups.
const LEAST: Duration = Duration::from_millis(100);

/// A report of so many objects that it takes long is asked for less often: a twentieth of a core is spent on it.
const SHARE: u32 = 20;

/// The newest report, for as long as it is polled.
pub(super) async fn follow(inputs: &Inputs, reports: &watch::Sender<Option<Arc<Report>>>) -> Infallible {
    let mut changed = inputs.changed.clone();
    loop {
        changed.mark_unchanged();
        let start = Instant::now();
        let report = (inputs.report)().await;
        let took = start.elapsed();
        if let Some(report) = report {
            reports.send_replace(Some(Arc::new(report)));
        }
        sleep((took * SHARE).clamp(LEAST, NOW_AND_THEN)).await;
        // Without a sender there are no changes.
        if let Ok(Err(_)) = timeout(NOW_AND_THEN, changed.changed()).await {
            sleep(NOW_AND_THEN).await;
        }
    }
}
