//! An agent without packet path that follows the API server, and what it costs.

use std::fs;
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
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 =
            line.and_then(|line| line.trim().strip_suffix("kB")).context("VmRSS")?.trim().parse()?;
        Ok(kib / 1_024.0)
    }

    /// Time on a processor since its start, in user space and in the kernel.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        let stat = self.read("stat")?;
        // The name, the second field, stands in parentheses and may have spaces in it.
        let after_name = stat.rsplit_once(") ").context("stat")?.1;
        let ticks = after_name.split(' ').skip(11).take(2).map(str::parse::<u64>);
        let ticks: u64 = ticks.sum::<Result<u64, _>>()?;
        let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("CLK_TCK")?;
        Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }

    /// Established connections to the API server at this URL.
    pub(super) fn connections_to(&self, url: &str) -> Result<usize> {
        let address = url.strip_prefix("https://").context("an https URL")?.parse::<SocketAddr>()?;
        let SocketAddr::V4(address) = address else { bail!("an IPv4 address was expected") };
        let remote = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
        let sockets = fs::read_dir(format!("/proc/{}/fd", self.process.id()))?
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
            .collect::<Vec<_>>();
        let table = self.read("net/tcp")?;
        let is_counted = |line: &&str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_remote = fields.get(2) == Some(&remote.as_str()) && fields.get(3) == Some(&"01");
            is_remote && fields.get(9).is_some_and(|inode| sockets.iter().any(|ours| ours == inode))
        };
        Ok(table.lines().filter(is_counted).count())
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.process.id());
        fs::read_to_string(&path).with_context(|| path)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
