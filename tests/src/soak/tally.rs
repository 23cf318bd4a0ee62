//! What the clients did, counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Failures that are told with their reason.
const TOLD: usize = 20;

/// A kind of client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    KeepAlive,
    Connect,
    Tls,
    Http2,
    WebSocket,
    Download,
    Upload,
    Abort,
    Malformed,
}

impl Kind {
    pub(super) const ALL: [Self; 9] = [
        Self::KeepAlive,
        Self::Connect,
        Self::Tls,
        Self::Http2,
        Self::WebSocket,
        Self::Download,
        Self::Upload,
        Self::Abort,
        Self::Malformed,
    ];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive",
            Self::Connect => "new",
            Self::Tls => "TLS",
            Self::Http2 => "HTTP/2",
            Self::WebSocket => "WebSocket",
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Abort => "aborted",
            Self::Malformed => "malformed",
        }
    }
}

/// The counts of all kinds.
#[derive(Debug, Default)]
pub(super) struct Tally {
    done: [AtomicU64; Kind::ALL.len()],
    failed: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Tally {
    pub(super) fn count(&self, kind: Kind, result: anyhow::Result<()>) {
        match result {
            Ok(()) => drop(self.done[kind as usize].fetch_add(1, Ordering::Relaxed)),
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
                if failures.len() < TOLD {
                    failures.push(format!("{}: {error:#}", kind.label()));
                }
            }
        }
    }

    pub(super) fn done(&self) -> Vec<(&'static str, u64)> {
        let count = |kind: Kind| (kind.label(), self.done[kind as usize].load(Ordering::Relaxed));
        Kind::ALL.map(count).into()
    }

    pub(super) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done: u64 = self.done().iter().map(|(_, done)| done).sum();
        write!(f, "{done} exchanges, {} failed", self.failed.load(Ordering::Relaxed))
    }
}
