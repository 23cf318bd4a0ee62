//! The drain as an operator asks for it: told, called off, and how it goes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Live;
use crate::model::{ConnectionKind, DrainProgress, Draining};

/// As long as a drain lasts unless told otherwise, in seconds.
pub const DEFAULT_SECONDS: u32 = 300;

/// How it goes, as JSON.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct DrainReport {
    /// Whether this node was told to drain.
    pub draining: bool,
    /// Whether its connections have ended, by themselves or at the deadline.
    pub complete: bool,
    /// In words.
    pub words: String,
    /// Whether new flows still open here: no connection is told to end yet.
    pub opens_here: bool,
    /// Seconds until what is left is closed.
    pub deadline: Option<u64>,
    /// Connections that are left, by kind; `at_kernel` are those that the proxy has no more, while their clients have not
    /// got everything.
    pub connections: BTreeMap<String, u64>,
    /// The age of the oldest, in seconds.
    pub oldest: Option<u64>,
}

impl DrainReport {
    /// Of this moment.
    pub(super) fn new(live: &Live) -> Self {
        let told = *live.draining.borrow();
        let progress = *live.drain.borrow();
        // Told a moment ago, it has nothing to say yet.
        let progress = if progress.of == told { progress } else { DrainProgress::default() };
        let is_told = told.is_some() && progress.of.is_none();
        let words = if is_told { "draining".to_owned() } else { progress.to_string() };
        let by_kind = ConnectionKind::ALL.iter().zip(progress.left.by_kind);
        let deadline = progress.ends_by.or(told.map(|draining| draining.deadline));
        Self {
            draining: told.is_some(),
            complete: progress.is_complete(),
            words,
            opens_here: progress.ends_by.is_none(),
            deadline: deadline.map(|at| at.saturating_duration_since(Instant::now()).as_secs()),
            connections: by_kind
                .map(|(kind, left)| (kind.label().to_owned(), left))
                .chain([("at_kernel".to_owned(), progress.left.at_kernel)])
                .collect(),
            oldest: progress.left.oldest.map(|age| age.as_secs()),
        }
    }
}

/// What a `POST` asks for: `deadline` in the query, in seconds.
pub(super) fn asked(query: Option<&str>) -> Result<Draining, String> {
    let seconds = match query.unwrap_or_default().split_once('=') {
        None => Ok(DEFAULT_SECONDS),
        Some(("deadline", seconds)) => {
            seconds.parse().map_err(|_| format!("{seconds:?} is no number of seconds"))
        }
        Some((other, _)) => Err(format!("{other:?} is unknown: there is `deadline`, in seconds")),
    };
    seconds.map(|seconds| Draining::within(Duration::from_secs(seconds.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_number_of_seconds() {
        let seconds = |query| asked(query).map(|draining: Draining| draining.span().as_secs());
        assert_eq!(seconds(None), Ok(300));
        assert_eq!(seconds(Some("deadline=7")), Ok(7));
        for wrong in ["deadline=", "deadline=-1", "deadline=1.5", "dead=1", "deadline=1&x=2"] {
            assert!(seconds(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
