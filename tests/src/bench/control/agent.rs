//! An agent without packet path that follows the API server, and what it costs.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::PATIENCE;
use super::objects::host;
use crate::bench::l7::free_port;
use crate::lab::http::Connection;
use crate::lab::program;
use crate::proc;

pub(super) struct Agent {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Agent {
    /// Started, and how long it took until the first request was answered.
    pub(super) fn start(kubeconfig: &Path) -> Result<(Self, Duration)> {
        let (address, https, folder) = (free_port()?, free_port()?, TempDir::new()?);
        let mut command = Command::new(program("lb-agent", "LB_AGENT")?);
        command.args(["--log", "error", "run", "--no-xdp", "--node", "bench", "--admin", ""]);
        command.args(["--http", &address.to_string(), "--https", &https.to_string()]);
        command.arg("--kubeconfig").arg(kubeconfig);
        command.arg("--state").arg(folder.path());
        command.arg("--admin-socket").arg(folder.path().join("admin"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let started = Instant::now();
        let process = command.spawn().context("starting lb-agent")?;
        let agent = Self { process, address, _folder: folder };
        while !agent.answers() {
            if started.elapsed() > PATIENCE {
                bail!("the agent does not answer after {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok((agent, started.elapsed()))
    }

    /// Where it answers HTTP.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    fn answers(&self) -> bool {
        let Ok(stream) = TcpStream::connect(self.address) else { return false };
        Connection::new(stream).fetch(&host(0), "/").is_ok_and(|answer| answer.status == 200)
    }

    /// Resident memory, MiB.
    pub(super) fn resident(&self) -> Result<f64> {
        Ok(proc::resident_kib(self.process.id())? as f64 / 1_024.0)
    }

    /// Time on a processor since its start, in user space and in the kernel.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        proc::processor_time(self.process.id())
    }

    /// Established connections to the API server at this URL.
    pub(super) fn connections_to(&self, url: &str) -> Result<usize> {
        let address = url.strip_prefix("https://").context("an https URL")?.parse()?;
        proc::connections_to(self.process.id(), address)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
