//! The proxies under test: how each is started, on its core, with its own configuration file of `tests/bench/l7`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_agent::l7::{Bind, Config, Proxy};
use lb_agent::metrics::Metrics;
use lb_agent::model::{
    Backend, BackendId, BackendPort, HostPattern, HostRoutes, Kind, Listener, ListenerProtocol, ObjectRef,
    PathKind, PathRule, RouteTable, Rule, Snapshot,
};
use tempfile::TempDir;

use super::{LOAD_CORE, Options, PROXY_CORE, affinity, free_port};

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
pub(super) fn all(options: &Options, backend: SocketAddr) -> Result<Vec<Subject>> {
    Ok(vec![edgelb(options, backend)?, nginx(backend)?, haproxy(backend)?])
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
        subject.wait_until_it_listens()?;
        Ok(subject)
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let started = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let ended = self.process.try_wait()?;
            ensure!(ended.is_none(), "{} ended at its start: {ended:?}", self.name);
            ensure!(started.elapsed() < Duration::from_secs(10), "{} does not listen", self.name);
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

fn edgelb(options: &Options, backend: SocketAddr) -> Result<Subject> {
    let (address, folder) = (free_port()?, TempDir::new()?);
    let mut command = match &options.agent {
        Some(agent) => {
            fill("edgelb/bench.yaml", folder.path(), address, backend)?;
            let mut command = Command::new(agent);
            command.args([
                "run",
                "--no-xdp",
                "--workers",
                "1",
                "--http",
                &address.to_string(),
                "--manifests",
            ]);
            command.arg(folder.path().join("edgelb"));
            command
        }
        None => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["serve", &address.to_string(), &backend.to_string()]);
            command
        }
    };
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

/// Runs the proxy alone, with one route, until the process is ended.
///
/// # Errors
/// If it cannot be started.
pub fn serve(address: SocketAddr, backend: SocketAddr) -> Result<()> {
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let proxy = Proxy::start(Config::new(1, Bind::Addresses(vec![address])), metrics)?;
    proxy.publish(&snapshot(address, backend));
    loop {
        std::thread::park();
    }
}

/// What `edgelb/bench.yaml` is translated to.
fn snapshot(address: SocketAddr, endpoint: SocketAddr) -> Snapshot {
    let port = BackendPort::Name("http".into());
    let id = BackendId { namespace: "bench".into(), service: "pods".into(), port };
    let rules = PathRule::new(PathKind::Prefix, "/").map(|path| Rule {
        path,
        backend: Arc::new(Backend { id, endpoints: Ok(vec![endpoint]) }),
        ingress: ObjectRef::new(Kind::Ingress, "bench", "bench"),
    });
    let routes = HostRoutes { rules: rules.into_iter().collect(), default_backend: None };
    let host = HostPattern::Precise(HOST.to_owned());
    let listener = Listener {
        object: ObjectRef::new(Kind::Service, "bench", "vip"),
        protocol: ListenerProtocol::Http,
        classes: BTreeSet::from(["edgelb".to_owned()]),
        routes: Arc::new(RouteTable { hosts: BTreeMap::from([(host, routes)]), ..RouteTable::default() }),
    };
    Snapshot { generation: 1, listeners: BTreeMap::from([(address, listener)]), ..Snapshot::default() }
}
