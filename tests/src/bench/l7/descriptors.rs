//! How many descriptors this process and the peers may have: idle connections need them by the thousand.

use anyhow::{Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Without so many there is no result worth having.
const NEEDED: u64 = 16_384;

/// For all else than connections.
const RESERVE: u64 = 1_024;

/// The limit of each process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Descriptors(pub(super) u64);

impl Descriptors {
    /// Takes what the system gives; children inherit it.
    pub(super) fn take() -> Result<Self> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        ensure!(
            hard >= NEEDED,
            "the bench needs {NEEDED} descriptors, and this process may have {hard}: raise the hard limit (`ulimit -Hn`)"
        );
        let wanted = hard.min(1 << 20);
        if soft < wanted {
            setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
        }
        Ok(Self(wanted))
    }

    /// Connections of clients that a proxy can have, each with one to a backend.
    pub(super) fn connections(self) -> u64 {
        (self.0 - RESERVE) / 2
    }
}
