//! `cargo xtask bench folder`: how fast a change of one file among many is live, and what the agent's memory is.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::l7::free_port;
use super::report::{Report, Row, millis};
use crate::backend;
use crate::lab::http::Connection;
use crate::lab::program;
use crate::proc;

/// Ingresses in the folder, each in a file of its own with its Service and EndpointSlice.
const SIZES: [usize; 3] = [10, 1_000, 5_000];

/// Changes that are timed.
const CHANGES: usize = 40;

/// What takes longer than this is broken, not slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two changes, so that each is one of its own to the agent.
const PAUSE: Duration = Duration::from_millis(150);

/// Measures.
///
/// # Errors
/// If the agent does not start, or a change never becomes live.
pub fn run() -> Result<Report> {
    let backend = backend::start()?;
    let mut report = Report::new("folder");
    for size in SIZES {
        let case = format!("{size} Ingresses");
        let mut row = |subject: &str, value, unit| report.rows.push(Row::new(&case, subject, value, unit));
        let folder = Folder::new(size, backend)?;
        let (agent, started) = Agent::start(folder.path())?;
        row("start to first answer", millis(started), "ms");
        let mut times = changes(&folder, &agent)?;
        times.sort_unstable();
        row("rename() to live, median", millis(times[times.len() / 2]), "ms");
        row("rename() to live, slowest", millis(times[times.len() - 1]), "ms");
        row("resident memory", agent.resident()?, "MiB");
    }
    Ok(report)
}

/// Moves the last Ingress's path to and fro, and asks for it on one connection until it answers.
fn changes(folder: &Folder, agent: &Agent) -> Result<Vec<Duration>> {
    let last = folder.size - 1;
    let mut connection = Connection::new(TcpStream::connect(agent.address)?);
    let mut times = Vec::with_capacity(CHANGES);
    for change in 0..CHANGES {
        std::thread::sleep(PAUSE);
        let path = format!("/change-{change}");
        let renamed = folder.write(last, &path)?;
        while connection.fetch(&host(last), &path)?.status != 200 {
            if renamed.elapsed() > PATIENCE {
                bail!("{path} is not live after {PATIENCE:?}");
            }
        }
        times.push(renamed.elapsed());
    }
    Ok(times)
}

/// A folder of manifests.
struct Folder {
    folder: TempDir,
    size: usize,
    backend: SocketAddr,
}

impl Folder {
    fn new(size: usize, backend: SocketAddr) -> Result<Self> {
        let this = Self { folder: TempDir::new()?, size, backend };
        let class = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: edgelb}\n\
                     spec: {controller: edgelb.dev/ingress}\n";
        fs::write(this.path().join("class.yaml"), class)?;
        for number in 0..size {
            this.write(number, "/")?;
        }
        Ok(this)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts an Ingress's file in place by a rename, and says when.
    fn write(&self, number: usize, path: &str) -> Result<Instant> {
        let (ip, port) = (self.backend.ip(), self.backend.port());
        let text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\n\
             metadata: {{name: app-{number}, namespace: bench}}\n\
             spec:\n  ingressClassName: edgelb\n  rules:\n  - host: {host}\n    http:\n      paths:\n      \
             - path: {path}\n        pathType: Prefix\n        \
             backend: {{service: {{name: app-{number}, port: {{number: 80}}}}}}\n\
             ---\napiVersion: v1\nkind: Service\nmetadata: {{name: app-{number}, namespace: bench}}\n\
             spec: {{ports: [{{name: http, port: 80}}]}}\n\
             ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: app-{number}, namespace: bench, labels: {{kubernetes.io/service-name: app-{number}}}}}\n\
             addressType: IPv4\nports: [{{name: http, port: {port}}}]\n\
             endpoints: [{{addresses: [{ip}], conditions: {{ready: true}}}}]\n",
            host = host(number),
        );
        let (new, file) = (self.path().join(".new"), self.path().join(format!("app-{number}.yaml")));
        fs::write(&new, text)?;
        fs::rename(&new, &file)?;
        Ok(Instant::now())
    }
}

fn host(number: usize) -> String {
    format!("app-{number}.example.org")
}

/// An agent without packet path.
struct Agent {
    process: Child,
    address: SocketAddr,
    _sockets: TempDir,
}

impl Agent {
    /// Started, and how long it took until the first request was answered.
    fn start(manifests: &Path) -> Result<(Self, Duration)> {
        let (address, sockets) = (free_port()?, TempDir::new()?);
        let mut command = Command::new(program("lb-agent", "LB_AGENT")?);
        command.args(["--log", "error", "run", "--no-xdp", "--admin", "", "--http", &address.to_string()]);
        command.arg("--manifests").arg(manifests);
        command.arg("--admin-socket").arg(sockets.path().join("admin"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let started = Instant::now();
        let process = command.spawn().context("starting lb-agent")?;
        let agent = Self { process, address, _sockets: sockets };
        while !agent.answers() {
            if started.elapsed() > PATIENCE {
                bail!("the agent does not answer after {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok((agent, started.elapsed()))
    }

    fn answers(&self) -> bool {
        let Ok(stream) = TcpStream::connect(self.address) else { return false };
        Connection::new(stream).fetch(&host(0), "/").is_ok_and(|answer| answer.status == 200)
    }

    /// Resident memory, MiB.
    fn resident(&self) -> Result<f64> {
        Ok(proc::resident_kib(self.process.id())? as f64 / 1_024.0)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
