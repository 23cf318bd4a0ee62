//! What a node's process 1 does besides: it reaps whatever ends, and starts its programs again as systemd would.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// How long a program that ended stays away.
const PAUSE: Duration = Duration::from_secs(1);

/// A program that always runs.
#[derive(Debug)]
pub(super) struct Unit {
    command: Command,
    name: &'static str,
}

impl Unit {
    /// Its output goes to `<node>-<name>.log` in `log`.
    pub(super) fn new(name: &'static str, mut command: Command, log: &Path, node: &str) -> Result<Self> {
        let out = open(&log.join(format!("{node}-{name}.log")))?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        Ok(Self { command, name })
    }

    /// Its process id.
    pub(super) fn start(&mut self) -> Result<i32> {
        let child = self.command.spawn().with_context(|| format!("starting {}", self.name))?;
        Ok(child.id().cast_signed())
    }
}

/// Keeps them running; those that run already come with their process ids.
pub(super) fn keep(mut running: BTreeMap<i32, Unit>) -> Result<Infallible> {
    loop {
        let Some(pid) = waitpid(None::<Pid>, None)?.pid() else { continue };
        let Some(mut unit) = running.remove(&pid.as_raw()) else { continue };
        eprintln!("{} ended, and is started again", unit.name);
        let last = Instant::now();
        // Nothing else needs us meanwhile but zombies, and they can wait.
        thread::sleep(PAUSE.saturating_sub(last.elapsed()));
        running.insert(unit.start()?, unit);
    }
}

fn open(path: &PathBuf) -> Result<File> {
    File::options().create(true).append(true).open(path).with_context(|| format!("{}", path.display()))
}
