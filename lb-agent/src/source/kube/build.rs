//! From the state to a snapshot: the one place that translates, apart from the runtime's threads.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::jiff::Timestamp;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::state::State;
use super::stored::Stored;
use crate::model::{Basis, Problem, Report, Snapshot};
use crate::source::publish::{Publisher, now};
use crate::source::{Answers, Settings, Translator};

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
    translator: Translator,
    publisher: Publisher,
    built: Option<Instant>,
    /// Whether what was stored is to be translated again at once.
    is_hastened: bool,
}

impl Builder {
    pub(super) fn new(state: State, settings: Settings, publisher: Publisher) -> Self {
        let translator = Translator::new(settings.clone());
        let (stored, basis, built) = (None, Basis::Nothing, None);
        Self { state, stored, basis, settings, translator, publisher, built, is_hastened: false }
    }

    /// When to build though nothing changed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.built.map(|built| if self.is_hastened { built } else { built + RETRANSLATE })
    }

    /// The names of external Services that are to be resolved.
    pub(super) fn external_names(&self) -> BTreeSet<String> {
        self.translator.external_names()
    }

    /// Something else is known of names.
    pub(super) fn take_answers(&mut self, answers: &Answers) {
        self.state.index.take_answers(answers);
        self.stored.iter_mut().for_each(|stored| stored.index.take_answers(answers));
        self.is_hastened = true;
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
        if self.basis != Basis::Cluster {
            // Nobody is to hear of objects as they were.
            return Report::default();
        }
        let mut report = self.translator.report(&self.state.index);
        let known = self.state.problems();
        report.problems.retain(|found| !known.iter().any(|known| is_same_place(found, known)));
        for object in known.iter().filter_map(|problem| problem.object.as_ref()) {
            let uid = self.state.index.entry(object).and_then(|(found, _)| found.metadata().uid.clone());
            report.uids.extend(uid.map(|uid| (object.clone(), uid)));
        }
        report.problems.extend(known);
        report.problems.sort();
        report
    }

    fn publish(&mut self) {
        let basis = match &self.stored {
            _ if self.state.is_complete() => Basis::Cluster,
            Some(stored) => Basis::Stored(stored.written),
            None => return,
        };
        if basis != self.basis {
            // It follows another index from now on.
            self.translator = Translator::new(self.settings.clone());
            self.basis = basis;
        }
        let snapshot = match &mut self.stored {
            Some(stored) if basis != Basis::Cluster => self.translator.translate(&mut stored.index, now()),
            _ => {
                if let Some(stored) = self.stored.take().filter(|stored| stored.is_of(&self.state)) {
                    self.state.index.inherit_history(&stored.index);
                }
                let snapshot = self.translator.translate(&mut self.state.index, now());
                with_problems(snapshot, self.state.problems())
            }
        };
        self.built = Some(Instant::now());
        self.is_hastened = false;
        self.publisher.publish(snapshot, &self.basis_in_words());
    }

    fn basis_in_words(&self) -> Words {
        Words(self.basis)
    }
}

/// With what is known of reading Secrets: at the same place that says more than that nothing was found there.
fn with_problems(mut snapshot: Snapshot, known: Vec<Problem>) -> Snapshot {
    if !known.is_empty() {
        let found = snapshot.problems.iter();
        let found = found.filter(|found| known.iter().any(|known| is_same_place(found, known)));
        for problem in found.cloned().collect::<Vec<_>>() {
            snapshot.problems.remove(&problem);
        }
    }
    for problem in known {
        snapshot.problems.insert(Arc::new(problem));
    }
    snapshot
}

fn is_same_place(one: &Problem, other: &Problem) -> bool {
    (&one.object, &one.field) == (&other.object, &other.field)
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
