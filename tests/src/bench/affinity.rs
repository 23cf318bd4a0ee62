//! Which core a thread runs on. Threads and processes inherit it from the one that starts them.

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Fails on a machine with fewer cores.
pub(in crate::bench) fn require(cores: usize) -> Result<()> {
    let own = std::thread::available_parallelism()?.get();
    ensure!(own >= cores, "the bench needs {cores} cores, this machine has {own}");
    Ok(())
}

/// Keeps the calling thread, and what it starts from now on, on one core.
pub(in crate::bench) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("running on core {core}"))
}
