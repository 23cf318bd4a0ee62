//! Snapshots out of a source: numbered, sent only when something changed, and told to the log.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch::Sender;
use tracing::{info, warn};

use crate::model::{Problem, Problems, Snapshot};

/// Seconds since the Unix epoch.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The only writer of snapshots.
#[derive(Debug)]
pub(super) struct Publisher {
    snapshots: Sender<Option<Arc<Snapshot>>>,
    /// Problems that are in the log and not mended yet.
    told: Problems,
}

impl Publisher {
    /// Publishes into this channel.
    pub(super) fn new(snapshots: Sender<Option<Arc<Snapshot>>>) -> Self {
        Self { snapshots, told: Problems::default() }
    }

    /// Gives the state its generation and sends it, unless it is the one that everybody has. `changes` says what
    /// led to it.
    pub(super) fn publish(&mut self, mut snapshot: Snapshot, changes: &dyn Display) {
        let last = self.snapshots.borrow().clone();
        if let Some(last) = last {
            snapshot.generation = last.generation;
            if snapshot == *last {
                return;
            }
        }
        snapshot.generation += 1;
        info!(
            generation = snapshot.generation,
            objects = %changes,
            members = snapshot.members.len(),
            vips = snapshot.vips.len(),
            listeners = snapshot.listeners.len(),
            problems = snapshot.problems.len(),
            "state changed"
        );
        self.tell(&snapshot.problems);
        self.snapshots.send_replace(Some(Arc::new(snapshot)));
    }

    /// Each problem once, until it was mended. An object that moved within its file has the same problems still.
    fn tell(&mut self, problems: &Problems) {
        let before = std::mem::replace(&mut self.told, problems.clone());
        let changes = || problems.changes(&before);
        let gone: BTreeSet<Problem> =
            changes().filter(|(_, is_new)| !is_new).map(|(problem, _)| unplaced(problem)).collect();
        let mut told = BTreeSet::new();
        for (problem, _) in changes().filter(|(_, is_new)| *is_new) {
            let unplaced = unplaced(problem);
            if !gone.contains(&unplaced) && told.insert(unplaced) {
                warn!("{problem}");
            }
        }
    }
}

/// Without the place in which its object stands.
fn unplaced(problem: &Problem) -> Problem {
    Problem { origin: problem.origin.clone().filter(|_| problem.object.is_none()), ..problem.clone() }
}
