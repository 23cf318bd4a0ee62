//! Wiring: the only file that names all stages. Start-up order, hand-over of snapshots, shutdown.
//!
//! ```text
//! source --snapshot--> proxy --the same snapshot--> packet path --its generation--> admin
//! ```
//! The proxy comes first: a port that the packet path steers to it is one that it already serves.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use lb_common::encap::OVERHEAD_V6;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::admin::{self, Addresses, Live, Server, packet_metrics};
use crate::cli::{AdminSocket, Check, Cli, Command, Doctor, Log, LogFormat, Meaning, Run, Uninstall};
use crate::l4::pins::Pins;
use crate::l4::wanted::Local;
use crate::l4::{self, Datapath, Uplink};
use crate::l7::{self, Proxy};
use crate::metrics::Metrics;
use crate::model::{ListenerProtocol, Severity, Snapshot};
use crate::source::{self, Settings};

/// Requests under way get this long when the agent is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Looked this often whether the last snapshot is published.
const PUBLISHING: Duration = Duration::from_millis(10);

/// TCP and IPv6 headers without options: what a segment's size does not count.
const HEADERS: u32 = 60;

type Snapshots = watch::Receiver<Option<Arc<Snapshot>>>;

/// Carries out a command line.
///
/// # Errors
/// What went wrong, for people, with what to do about it.
pub fn main(cli: Cli) -> Result<ExitCode> {
    start_log(&cli.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Run(run) => agent(*run).await,
            Command::Check(check) => Ok(check_folder(&check)),
            Command::Health(socket) => health(&socket).await,
            Command::Doctor(doctor) => look(doctor).await,
            Command::Uninstall(uninstall) => remove(uninstall).await,
        }
    })
}

fn start_log(log: &Log) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&log.log)
        .with_context(|| format!("--log {:?} is not a log filter", log.log))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match log.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// Runs until it is told to stop, or a stage that everything depends on fails.
async fn agent(run: Run) -> Result<ExitCode> {
    let node = node_name(&run)?;
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    // The kernel last: what fails before it leaves nothing there.
    std::fs::read_dir(&run.manifests)
        .with_context(|| format!("cannot read the manifests folder {}", run.manifests.display()))?;
    let server = Server::bind(&addresses(&run)).await?;
    let uplinks = uplinks(&run).await?;
    let proxy = Arc::new(Proxy::start(proxy_config(&run, &uplinks)?, metrics)?);
    let packet_path = packet_path(&run, &node, &uplinks).await?;

    let (found, snapshots) = watch::channel(None);
    let (served, to_kernel) = watch::channel(None);
    let (proxy_live, proxy_generation) = watch::channel(0);
    let (kernel_live, kernel_generation) = watch::channel(0);
    let live = Live {
        node,
        version: env!("CARGO_PKG_VERSION"),
        started: SystemTime::now(),
        snapshots: snapshots.clone(),
        kernel: packet_path.is_some().then_some(kernel_generation),
        proxy: proxy_generation,
        attachments: packet_path.as_ref().map(|path| attachments(path, &uplinks)).unwrap_or_default(),
    };
    packet_metrics::register(&mut registry, live.clone(), counters(&run, snapshots.clone()));
    let admin = server.run(Arc::new(admin::State { live, registry: Arc::new(registry) }));

    tokio::select! {
        result = source::files::run(run.manifests.clone(), settings(&run), found) => result?,
        result = steer(packet_path, &proxy, to_kernel, kernel_live) => result?,
        () = publish(&proxy, snapshots, served, proxy_live) => {}
        _ = admin => {}
        result = told_to_stop() => result?,
    }
    stop(proxy).await;
    Ok(ExitCode::SUCCESS)
}

fn node_name(run: &Run) -> Result<String> {
    match &run.node {
        Some(name) => Ok(name.clone()),
        None => {
            let name =
                nix::unistd::gethostname().context("this machine has no name: give one with --node")?;
            Ok(name.to_string_lossy().into_owned())
        }
    }
}

/// Where packets for VIPs come in; nowhere without packet path.
async fn uplinks(run: &Run) -> Result<Vec<Uplink>> {
    let uplinks = if run.no_xdp { Vec::new() } else { l4::uplinks(&run.interface).await? };
    for Uplink { name, why, mtu } in &uplinks {
        info!(interface = name, why, mtu, "packets for VIPs come in here");
    }
    Ok(uplinks)
}

async fn packet_path(run: &Run, node: &str, uplinks: &[Uplink]) -> Result<Option<Datapath>> {
    let Some(key_file) = run.hash_key_file.as_ref().filter(|_| !run.no_xdp) else { return Ok(None) };
    let local = Local {
        node: node.to_owned(),
        key: l4::keys::read(key_file)?,
        cluster: run.cluster_id,
        port: run.encap_port,
    };
    let interfaces = uplinks.iter().map(|uplink| uplink.name.clone()).collect();
    let options = l4::Options { local, interfaces, pins: Pins::new(run.bpffs.clone()) };
    Ok(Some(Datapath::start(options).await?))
}

fn proxy_config(run: &Run, uplinks: &[Uplink]) -> Result<l7::Config> {
    let workers = match run.workers {
        Some(workers) => workers.into(),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let addresses: Vec<_> = run.http.iter().chain(&run.https).copied().collect();
    let twice = addresses.iter().enumerate().find(|(at, address)| addresses[..*at].contains(address));
    if let Some((_, address)) = twice {
        anyhow::bail!("{address} is named twice by --http and --https");
    }
    if run.no_xdp {
        anyhow::ensure!(
            !addresses.is_empty(),
            "--no-xdp answers on ordinary sockets: say which with --http ADDR, --https ADDR or both"
        );
        return Ok(l7::Config::new(workers, l7::Bind::Addresses(addresses)));
    }
    let mut config = l7::Config::new(workers, l7::Bind::Both(addresses));
    let smallest = uplinks.iter().map(|uplink| uplink.mtu).min().unwrap_or(u32::MAX);
    config.max_segment = Some(smallest.saturating_sub(OVERHEAD_V6 as u32 + HEADERS));
    Ok(config)
}

fn addresses(run: &Run) -> Addresses {
    Addresses { socket: run.admin_socket.admin_socket.clone(), tcp: run.admin.0, metrics: run.metrics_addr }
}

fn settings(run: &Run) -> Settings {
    let with = |addresses: &[SocketAddr], protocol| {
        addresses.iter().map(move |&address| (address, protocol)).collect::<Vec<_>>()
    };
    let http = with(&run.http, ListenerProtocol::Http);
    let https = with(&run.https, ListenerProtocol::Https);
    let ports = http.into_iter().chain(https).collect();
    let (standalone, host_ports) =
        if run.no_xdp { (ports, BTreeMap::new()) } else { (BTreeMap::new(), ports) };
    Settings { standalone, host_ports, membership: source::Membership::Nodes, ..meaning(&run.meaning) }
}

/// What `check` shares with `run`.
fn meaning(meaning: &Meaning) -> Settings {
    Settings {
        default_certificate: meaning.default_certificate.clone(),
        watch_without_class: meaning.watch_without_class,
        ..Settings::default()
    }
}

fn attachments(packet_path: &Datapath, uplinks: &[Uplink]) -> Vec<admin::Attachment> {
    let attachments = packet_path.attachments().iter().zip(uplinks);
    attachments
        .map(|(attachment, uplink)| admin::Attachment {
            interface: attachment.interface.clone(),
            why: uplink.why.clone(),
            mode: attachment.mode.to_string(),
            reason: attachment.reason.clone(),
        })
        .collect()
}

/// Reads the kernel's counters on each scrape, from the pinned maps: apart from the packet path, which a
/// scrape must not hold up.
fn counters(run: &Run, snapshots: Snapshots) -> packet_metrics::ReadCounters {
    if run.no_xdp {
        return Box::new(|| None);
    }
    let pins = Pins::new(run.bpffs.clone());
    Box::new(move || {
        let snapshot = snapshots.borrow().clone().unwrap_or_default();
        let counters =
            l4::reader::Reader::open(&pins).and_then(|reader| reader.read(snapshot.services.keys()));
        match counters {
            Ok(counters) => {
                Some(packet_metrics::Counters { verdicts: counters.verdicts, services: counters.services })
            }
            Err(error) => {
                warn!(%error, "the packet path's counters cannot be read");
                None
            }
        }
    })
}

/// Has the proxy serve each snapshot, then hands it on.
async fn publish(
    proxy: &Arc<Proxy>,
    mut snapshots: Snapshots,
    served: watch::Sender<Option<Arc<Snapshot>>>,
    live: watch::Sender<u64>,
) {
    while snapshots.changed().await.is_ok() {
        let Some(snapshot) = snapshots.borrow_and_update().clone() else { continue };
        let (proxy, compiled) = (Arc::clone(proxy), Arc::clone(&snapshot));
        // Thousands of certificates take a while: not on the thread that answers probes.
        if let Err(error) = tokio::task::spawn_blocking(move || proxy.publish(&compiled)).await {
            warn!(%error, generation = snapshot.generation, "the last state stays");
            continue;
        }
        live.send_replace(snapshot.generation);
        served.send_replace(Some(snapshot));
    }
}

/// Has the packet path follow; without one, there is nothing to do.
async fn steer(
    packet_path: Option<Datapath>,
    proxy: &Proxy,
    snapshots: Snapshots,
    live: watch::Sender<u64>,
) -> Result<()> {
    let Some(mut packet_path) = packet_path else { return std::future::pending().await };
    let sockets = proxy.steered_sockets();
    let of_family = |is_v4: bool| sockets.iter().find(move |socket| socket.address.is_ipv4() == is_v4);
    packet_path.steer_to(of_family(true), of_family(false))?;
    Ok(packet_path.run(snapshots, live).await?)
}

async fn told_to_stop() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => info!("told to stop (SIGTERM)"),
        _ = interrupt.recv() => info!("told to stop (SIGINT)"),
    }
    Ok(())
}

/// Lets requests end. What is in the kernel stays: it goes on forwarding to the other members.
async fn stop(mut proxy: Arc<Proxy>) {
    // A snapshot may be on its way into the proxy: that thread lets go of it soon.
    let proxy = loop {
        match Arc::try_unwrap(proxy) {
            Ok(proxy) => break proxy,
            Err(shared) => proxy = shared,
        }
        sleep(PUBLISHING).await;
    };
    if tokio::task::spawn_blocking(move || proxy.shutdown(GRACE)).await.is_err() {
        warn!("the proxy did not stop in order");
    }
}

fn check_folder(check: &Check) -> ExitCode {
    let problems = source::check(&check.manifests, &meaning(&check.meaning));
    for problem in &problems {
        println!("{problem}");
    }
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    println!("{}: {errors} errors, {} warnings", check.manifests.display(), problems.len() - errors);
    let is_bad = errors > 0 || (check.strict && !problems.is_empty());
    if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn health(socket: &AdminSocket) -> Result<ExitCode> {
    let health = admin::health(&socket.admin_socket).await?;
    println!("{}", health.message);
    Ok(if health.is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn look(doctor: Doctor) -> Result<ExitCode> {
    let bpf = admin::doctor::Bpf {
        takes_xdp: l4::probe::takes_xdp,
        takes_sk_lookup: l4::probe::takes_sk_lookup,
        program_name: l4::probe::program_name,
    };
    let uplinks = match l4::uplinks(&doctor.interface).await {
        Ok(uplinks) => Ok(uplinks.into_iter().map(|uplink| (uplink.name, uplink.why)).collect()),
        Err(error) => Err(error.to_string()),
    };
    let options = admin::doctor::Options { uplinks, bpffs: doctor.bpffs, bpf };
    let report = admin::doctor::doctor(&options).await;
    print!("{}", report.render(std::io::stdout().is_terminal()));
    Ok(if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn remove(uninstall: Uninstall) -> Result<ExitCode> {
    let removed = l4::uninstall(&Pins::new(uninstall.bpffs)).await?;
    println!("{}", if removed { "removed: programs, maps and local routes" } else { "nothing to remove" });
    Ok(ExitCode::SUCCESS)
}
