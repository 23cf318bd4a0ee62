//! A peer that runs, on its core: what it has used so far, and its end.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use tempfile::TempDir;

use super::peer::Peer;
use super::site::{Listen, Site};
use super::{LOAD_CORE, PROXY_CORE};
use crate::bench::affinity;
use crate::lab::wait::until;
use crate::proc;

/// For a start with thousands of routes.
const PATIENCE: Duration = Duration::from_secs(60);

/// For an end without anybody connected.
const GRACE: Duration = Duration::from_secs(5);

/// A proxy that runs. Dropped, it is ended.
pub(super) struct Subject {
    pub(super) peer: &'static dyn Peer,
    pub(super) listen: Listen,
    process: Child,
    folder: TempDir,
}

impl Subject {
    /// Started, and answering by the last of the site's routes.
    pub(super) fn start(peer: &'static dyn Peer, site: &Site) -> Result<Self> {
        let (listen, folder) = (Listen::new()?, TempDir::new()?);
        let mut command = peer.prepare(site, listen, folder.path())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        // The child inherits the core.
        affinity::pin(PROXY_CORE)?;
        let process = command.spawn();
        affinity::pin(LOAD_CORE)?;
        let process = process.with_context(|| format!("starting {}", command.get_program().display()))?;
        let mut subject = Self { peer, listen, process, folder };
        let (host, path) = site.targets().last().context("a site has a route")?;
        subject.wait_until_it_answers(host, path)?;
        Ok(subject)
    }

    fn wait_until_it_answers(&mut self, host: &str, path: &str) -> Result<()> {
        let started = Instant::now();
        while !self.answers(host, path).unwrap_or(false) {
            let ended = self.process.try_wait()?;
            ensure!(ended.is_none(), "it ended at its start: {ended:?}");
            ensure!(started.elapsed() < PATIENCE, "it does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Whether a request on a new connection is answered by the backend.
    pub(super) fn answers(&self, host: &str, path: &str) -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(self.listen.http)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer.starts_with(b"HTTP/1.1 200 "))
    }

    /// Has the last host of the site served, too.
    pub(super) fn add_last_host(&self, site: &Site) -> Result<()> {
        self.peer.add_last_host(site, self.listen, self.folder.path(), self.process.id())
    }

    /// User and system time that its processes have used so far.
    pub(super) fn cpu_time(&self) -> Result<Duration> {
        let mut time = Duration::ZERO;
        for pid in self.processes()? {
            let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed()))?;
            time += Duration::from(clock.now()?);
        }
        Ok(time)
    }

    /// Memory of its processes, MiB: what they share counts once.
    pub(super) fn memory(&self) -> Result<f64> {
        let sizes = self.processes()?.into_iter().map(proc::proportional_kib);
        Ok(sizes.sum::<Result<u64>>()? as f64 / 1_024.0)
    }

    /// The process and those that it has started, which start none.
    fn processes(&self) -> Result<BTreeSet<u32>> {
        let own = self.process.id();
        let mut all = proc::children(own)?;
        all.insert(own);
        Ok(all)
    }
}

impl Drop for Subject {
    /// Asks it to end, for one that is built to learn how it is used writes that down at its end.
    fn drop(&mut self) {
        let children = proc::children(self.process.id()).unwrap_or_default();
        let _ = kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM);
        let has_ended = || matches!(self.process.try_wait(), Ok(Some(_)));
        if until("its end", GRACE, has_ended).is_err() {
            drop(self.process.kill());
            drop(self.process.wait());
        }
        for child in children {
            let _ = kill(Pid::from_raw(child.cast_signed()), Signal::SIGKILL);
        }
    }
}
