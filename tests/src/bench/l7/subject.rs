//! The proxies under test: how each is started, on its core, with its own configuration file of `tests/bench/l7`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{LOAD_CORE, PROXY_CORE, free_port};
use crate::bench::affinity;
use crate::lab::program;

/// The host that every subject routes.
pub(super) const HOST: &str = "bench.example.org";

const CONFIGURATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/l7");

/// A proxy that runs. Dropped, it is ended.
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    process: Child,
    _folder: TempDir,
}

/// Every subject, started; edgelb first.
pub(super) fn all(backend: SocketAddr) -> Result<Vec<Subject>> {
    Ok(vec![edgelb(backend)?, nginx(backend)?, haproxy(backend)?])
}

impl Subject {
    fn start(
        name: &'static str,
        address: SocketAddr,
        folder: TempDir,
        command: &mut Command,
    ) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        // The child inherits the core.
        affinity::pin(PROXY_CORE)?;
        let process = command.spawn();
        affinity::pin(LOAD_CORE)?;
        let process = process.with_context(|| format!("starting {name}: is it installed?"))?;
        let mut subject = Self { name, address, process, _folder: folder };
        subject.wait_until_it_answers()?;
        Ok(subject)
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let started = Instant::now();
        while !answers(self.address).unwrap_or(false) {
            let ended = self.process.try_wait()?;
            ensure!(ended.is_none(), "{} ended at its start: {ended:?}", self.name);
            ensure!(started.elapsed() < Duration::from_secs(10), "{} does not answer", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// User and system time that it has used so far.
    pub(super) fn cpu_time(&self) -> Result<Duration> {
        let path = format!("/proc/{}/schedstat", self.process.id());
        let tasks = format!("/proc/{}/task", self.process.id());
        let mut nanoseconds = 0;
        for task in std::fs::read_dir(&tasks).context(path)? {
            let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let running = schedstat.split(' ').next().unwrap_or_default();
            nanoseconds += running.parse::<u64>().context("schedstat")?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Whether a request is answered by the backend.
fn answers(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200 "))
}

fn edgelb(backend: SocketAddr) -> Result<Subject> {
    let (address, folder) = (free_port()?, TempDir::new()?);
    let manifest = fill("edgelb/bench.yaml", folder.path(), address, backend)?;
    let mut command = Command::new(program("lb-agent", "LB_AGENT")?);
    command.args(["run", "--no-xdp", "--workers", "1", "--http", &address.to_string(), "--manifests"]);
    command.arg(manifest.parent().unwrap_or(&manifest)).env("RUST_LOG", "error");
    command.args(["--admin", &free_port()?.to_string(), "--admin-socket"]).arg(folder.path().join("admin"));
    Subject::start("edgelb", address, folder, &mut command)
}

fn nginx(backend: SocketAddr) -> Result<Subject> {
    let (address, folder) = (free_port()?, TempDir::new()?);
    let configuration = fill("nginx.conf", folder.path(), address, backend)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder.path()).arg("-e").arg("stderr").arg("-c").arg(configuration);
    Subject::start("nginx", address, folder, &mut command)
}

fn haproxy(backend: SocketAddr) -> Result<Subject> {
    let (address, folder) = (free_port()?, TempDir::new()?);
    let configuration = fill("haproxy.cfg", folder.path(), address, backend)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(configuration);
    Subject::start("haproxy", address, folder, &mut command)
}

/// Writes a configuration with the addresses filled in.
fn fill(name: &str, folder: &Path, listen: SocketAddr, backend: SocketAddr) -> Result<PathBuf> {
    let template = std::fs::read_to_string(Path::new(CONFIGURATIONS).join(name))?;
    let filled = template
        .replace("@LISTEN@", &listen.to_string())
        .replace("@BACKEND@", &backend.to_string())
        .replace("@BACKEND_IP@", &backend.ip().to_string())
        .replace("@BACKEND_PORT@", &backend.port().to_string());
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&path, filled)?;
    Ok(path)
}
