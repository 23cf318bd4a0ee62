//! A long-running program of the cluster: stopped, killed, looked after.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::starter::Starter;
use crate::lab::wait::eventually;

/// How much of a log is shown.
const SHOWN: usize = 20;

/// How long a program may take to end by itself.
const END: Duration = Duration::from_secs(30);

/// A program that runs; it ends with this value.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// What it says goes to the end of the file `log`.
    pub(crate) fn start(name: &str, starter: &Starter, mut command: Command, log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = starter.start(command)?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Ends it at once (SIGKILL).
    ///
    /// # Errors
    /// Those of `kill` and `waitpid`.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM), and waits for that.
    ///
    /// # Errors
    /// If it does not.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let name = self.name.clone();
        eventually(&format!("the end of {name}"), END, || self.child.try_wait()?.context("it still runs"))
    }

    /// Has it stand still (SIGSTOP): its connections stay, nothing is answered.
    ///
    /// # Errors
    /// If it has ended.
    pub fn freeze(&mut self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Has it go on (SIGCONT).
    ///
    /// # Errors
    /// As `freeze`.
    pub fn thaw(&mut self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Fails, with the end of its log, if it has ended.
    ///
    /// # Errors
    /// See above.
    pub fn expect_alive(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let shown = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
        bail!("{} ended, {status}; the end of {}:\n{shown}", self.name, self.log.display())
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        // Waited for by nobody but us, so the id is still its own.
        self.expect_alive()?;
        kill(Pid::from_raw(self.child.id().cast_signed()), signal)
            .with_context(|| format!("{signal} to {}", self.name))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself, and there is nobody left to tell.
        let _ = self.kill();
    }
}
