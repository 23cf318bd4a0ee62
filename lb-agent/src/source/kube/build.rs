//! From the state to a snapshot: the one place that translates, apart from the runtime's threads.

use std::fmt;
use std::time::{Duration, SystemTime};

use k8s_openapi::jiff::Timestamp;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::state::State;
use super::stored::Stored;
use crate::model::{Basis, Problem, Report};
use crate::source::publish::{Publisher, now};
use crate::source::{Index, Settings, translate};

/// Translated anew at least this often, for what changes by time alone: certificates expire.
const RETRANSLATE: Duration = Duration::from_secs(3600);

/// All that a build works with.
pub(super) struct Builder {
    /// What is known of the cluster.
    pub(super) state: State,
    /// What was stored, until the cluster is known.
    pub(super) stored: Option<Stored>,
    /// What the last build was made of.
    pub(super) basis: Basis,
    settings: Settings,
    publisher: Publisher,
    built: Option<Instant>,
    problems: Vec<Problem>,
}

impl Builder {
    pub(super) fn new(state: State, settings: Settings, publisher: Publisher) -> Self {
        let (basis, problems) = (Basis::Nothing, Vec::new());
        Self { state, stored: None, basis, settings, publisher, built: None, problems }
    }

    /// When to build though nothing changed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.built.map(|built| built + RETRANSLATE)
    }

    /// Publishes what the cluster asks for or, while that is not known completely, what was stored.
    pub(super) async fn build(self) -> Self {
        let mut this = self;
        let work = spawn_blocking(move || {
            this.publish();
            this
        });
        work.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("blocking work is not cancelled"),
        })
    }

    /// What the cluster is to be told.
    pub(super) fn report(&self) -> Report {
        if self.basis == Basis::Cluster {
            Report { problems: self.problems.clone(), ..Report::default() }
        } else {
            // Nobody is to hear of objects as they were.
            Report::default()
        }
    }

    fn publish(&mut self) {
        if self.state.is_complete() {
            self.basis = Basis::Cluster;
            self.stored = None;
        } else if let Some(stored) = &self.stored {
            self.basis = Basis::Stored(stored.written);
        } else {
            return;
        }
        let (index, problems): (&Index, _) = match &self.stored {
            Some(stored) => (&stored.index, Vec::new()),
            None => (&self.state.index, self.state.problems()),
        };
        let mut snapshot = translate(index, &self.settings, now());
        self.built = Some(Instant::now());
        // What we know of a place says more than that nothing was found there.
        snapshot.problems.retain(|found| {
            !problems.iter().any(|known| (&known.object, &known.field) == (&found.object, &found.field))
        });
        snapshot.problems.extend(problems);
        snapshot.problems.sort();
        snapshot.problems.dedup();
        self.problems.clone_from(&snapshot.problems);
        self.publisher.publish(snapshot, &self.basis_in_words());
    }

    fn basis_in_words(&self) -> Words {
        Words(self.basis)
    }
}

/// The basis, for the log.
struct Words(Basis);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Basis::Nothing => f.write_str("none"),
            Basis::Stored(written) => write!(f, "stored at {}", utc(written)),
            Basis::Cluster => f.write_str("cluster"),
        }
    }
}

/// A time as people read it, to the second.
pub(super) fn utc(time: SystemTime) -> String {
    let timestamp = Timestamp::try_from(time).unwrap_or_default();
    Timestamp::from_second(timestamp.as_second()).unwrap_or_default().to_string()
}
