//! The agent that follows a real API server, through whatever happens to that server, with requests running.

mod away;
mod big;
mod compaction;
mod many;
mod peers;
pub(crate) mod process;
mod refused;
mod requests;
mod restart;
mod same;
mod secrets;
mod site;
mod writes;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Long enough for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition, on a thread that the runtime may lose.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    tokio::task::block_in_place(|| {
        let start = Instant::now();
        while !holds() {
            if start.elapsed() > PATIENCE {
                bail!("not within {PATIENCE:?}: {what}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    })
}
