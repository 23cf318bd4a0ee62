//! An agent without packet path: a plain proxy that follows the cluster of a kubeconfig.

use std::fs::{self, File};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use lb_tests::lab::http::Connection;
use lb_tests::lab::program;
use lb_tests::proc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::until;

/// An agent; it ends with this value.
pub(crate) struct Agent {
    process: Child,
    folder: PathBuf,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
}

impl Agent {
    /// Starts it; `folder` has its state and its log, also of the agents before it.
    pub(crate) fn start(kubeconfig: &Path, folder: &Path, flags: &[&str]) -> Result<Self> {
        let (http, https) = (free_port()?, free_port()?);
        fs::create_dir_all(folder)?;
        let log = File::options().create(true).append(true).open(folder.join("agent.log"))?;
        let mut command = Command::new(program("lb-agent", "LB_AGENT")?);
        command.args(["run", "--no-xdp", "--node", "edge-1", "--admin", ""]);
        command.args(["--http", &http.to_string(), "--https", &https.to_string()]);
        command.arg("--kubeconfig").arg(kubeconfig).arg("--state").arg(folder.join("state"));
        command.arg("--admin-socket").arg(folder.join("admin.sock")).args(flags);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().context("starting lb-agent")?;
        Ok(Self { process, folder: folder.to_owned(), http, https })
    }

    /// Waits until it is ready.
    pub(crate) fn await_ready(&self) -> Result<()> {
        until("the agent is ready", || self.ready().is_ok_and(|(status, _)| status == 200))
            .with_context(|| self.log())
    }

    /// What `/readyz` says.
    pub(crate) fn ready(&self) -> Result<(u16, String)> {
        self.ask("/readyz")
    }

    /// A number out of `/metrics`, by the start of its line.
    pub(crate) fn metric(&self, start: &str) -> Result<f64> {
        let (_, text) = self.ask("/metrics")?;
        let line =
            text.lines().find(|line| line.starts_with(start)).with_context(|| format!("no {start}"))?;
        Ok(line.rsplit_once(' ').context("a value")?.1.parse()?)
    }

    /// What it holds.
    pub(crate) fn dump(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.ask("/debug/snapshot")?.1)?)
    }

    /// All that it said, and the agents before it in this folder.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("agent.log")).unwrap_or_default()
    }

    /// The status of `GET /` for a host; 0 if there is no answer.
    pub(crate) fn status_of(&self, host: &str) -> u16 {
        let fetch = || Connection::new(TcpStream::connect(self.http)?).fetch(host, "/");
        fetch().map_or(0, |answer| answer.status)
    }

    /// Waits until `GET /` for a host has this status.
    pub(crate) fn await_status(&self, host: &str, status: u16) -> Result<()> {
        until(&format!("{host} answers {status}"), || self.status_of(host) == status)
            .with_context(|| self.log())
    }

    /// Resident memory, KiB.
    pub(crate) fn resident(&self) -> Result<u64> {
        proc::resident_kib(self.process.id())
    }

    /// Established connections to an address.
    pub(crate) fn connections_to(&self, address: SocketAddr) -> Result<usize> {
        proc::connections_to(self.process.id(), address)
    }

    /// Tells it to end, and waits for that.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM)?;
        until("the agent ends", || matches!(self.process.try_wait(), Ok(Some(_))))
    }

    fn ask(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = UnixStream::connect(self.folder.join("admin.sock"))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        std::io::Write::write_all(
            &mut stream,
            format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("an answer")?;
        Ok((head.get(9..12).context("a status")?.parse()?, body.to_owned()))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
