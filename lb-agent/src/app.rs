//! Wiring: the only file that names all stages. Start-up order, hand-over of snapshots, shutdown.
//!
//! ```text
//! source --snapshot--> proxy --the same snapshot--> packet path --its generation--> admin
//! ```
//! The proxy comes first: a port that the packet path steers to it is one that it already serves.

mod capture;
mod commands;
mod connect;
mod drain;
mod explain;
mod explain_request;
mod flow_key;
#[cfg(test)]
mod flows_found;
mod input;
mod kept_drain;
mod liveness;
mod packet_path;
mod proxy;
mod say;
mod segments;
mod service;
mod shared_secret;
mod signals;
mod writer;
mod yielding;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use prometheus_client::registry::Registry;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use tracing::warn;

use self::drain::{Drain, Grace};
use self::flow_key::Given;
use self::input::Input;
use self::kept_drain::KeptDrain;
use self::packet_path::{PacketPath, counters, uplinks};
use self::proxy::proxy_config;
use self::signals::StopSignals;
use self::writer::Writer;
use crate::admin::{self, Addresses, Live, Server, packet_metrics};
use crate::announce::{Announcer, Attracted, Silent, Standing};
use crate::beat::Beats;
use crate::cli::{Cli, Command, Log, LogFormat, Meaning, Run};
use crate::l7::{LastWords, Proxy};
use crate::metrics::{Metrics, StatusMetrics};
use crate::model::{ListenerProtocol, Snapshot, Turn};
use crate::source::{Membership, Settings};

/// Looked this often whether the last snapshot is published.
const PUBLISHING: Duration = Duration::from_millis(10);

/// For what is logged and traced of the last requests: a collector may not answer.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Longer than most round trips: an ACK that comes later finds nobody.
const LAST_HANDSHAKES: Duration = Duration::from_millis(200);

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
            Command::Check(check) => commands::check_folder(&check),
            Command::Health(probe) => commands::health(&probe).await,
            Command::Drain(drain) => commands::drain(&drain).await,
            Command::Explain(question) => explain::explain(&question).await,
            Command::Capture(wanted) => capture::capture(&wanted).await,
            Command::Top(top) => commands::top(&top).await,
            Command::Doctor(doctor) => commands::look(doctor).await,
            Command::Uninstall(uninstall) => commands::remove(uninstall).await,
        }
    })
}

fn start_log(log: &Log) -> Result<()> {
    // The client's own words come once an attempt; who uses it tells what they mean, once. A filter that names these
    // modules has its way.
    let filter = format!("kube_client=off,kube_runtime=off,{}", log.log);
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
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
    let (found, snapshots) = watch::channel(None);
    let input = Input::new(&run, &node, found).await?;
    let server = Server::bind(&addresses(&run)).await?;
    let uplinks = uplinks(&run).await?;
    let beats = Beats::default();
    let config = proxy_config(&run, &node, &uplinks, &beats, &mut registry)?;
    let last_words = config.last_words();
    let proxy = Arc::new(Proxy::start(config, metrics)?);
    // The kernel last: what fails before it leaves nothing there.
    let drain = Drain::new(&node, snapshots.clone());
    let packet_path = PacketPath::new(&run, &node, uplinks, beats, &drain);

    let (served, to_kernel) = watch::channel(None);
    let (proxy_live, proxy_generation) = watch::channel(0);
    let attracted = watch::Sender::default();
    let members = packet_path.as_ref().map(PacketPath::ask_members);
    let live = live(
        node,
        snapshots.clone(),
        (proxy_generation, attracted.subscribe()),
        &input,
        &drain,
        packet_path.as_ref(),
    );
    // Registered before anyone reads them.
    let writing = input.cluster().map(|source| (source, StatusMetrics::new(&mut registry)));
    let counters = counters(&run, snapshots.clone(), live.attachments.clone());
    packet_metrics::register(&mut registry, live.clone(), counters);
    // Nothing new is wanted from the moment at which this agent is told to stop.
    let writer = match writing {
        Some((source, metrics)) => Some(Writer::start(&run, &source, &live, metrics).await?),
        None => None,
    };
    let turn = live.turn.clone();
    let captures = admin::capture::Captures::new(packet_path.as_ref().map(PacketPath::arm));
    let (registry, tell) = (Arc::new(registry), drain.told());
    let (trust, limits) = (run.clients.trust(), run.clients.limits());
    let requests = Some(explain_request::by(live.clone(), proxy.observer(), trust, limits));
    let state = admin::State { live: live.clone(), registry, tell, members, requests, captures };
    let admin = server.run(Arc::new(state));
    let grace = Grace::new(&run);
    let left = || grace.of(*live.turn.borrow());
    let mut signals = StopSignals::new()?;

    let (key, secret) = (input.flow_key(&run), input.flow_key(&run));
    let left = tokio::select! {
        result = input.run(turn.clone()) => result.map(|()| left())?,
        result = steer(packet_path, key, &proxy, to_kernel) => result.map(|()| left())?,
        () = publish(&proxy, snapshots.clone(), served, proxy_live) => left(),
        never = shared_secret::follow(secret, &proxy) => match never {},
        never = drain.run(&proxy, &live) => match never {},
        never = attract(&live, drain.yielded(), attracted) => match never {},
        never = segments::follow(&live, &proxy) => match never {},
        never = service::tell(&live) => match never {},
        never = Silent.run(live.attracted.clone()) => match never {},
        never = admin => match never {},
        left = drain.until_told_to_stop(&mut signals, turn, grace) => left,
    };
    // Nobody gives signs of life any more, and no agent comes after this one.
    if *live.turn.borrow() == Turn::Holding && !run.no_xdp && !left.is_zero() {
        packet_path::fall_silent(&run);
        // From here on SYNs go elsewhere: those that came before have their handshakes done.
        sleep(LAST_HANDSHAKES).await;
    }
    let next = (*live.turn.borrow() == Turn::After).then(|| KeptDrain::new(&run.state));
    tokio::join!(stop(proxy, last_words, left, signals, next), async {
        if let Some(writer) = writer {
            writer.stop().await;
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// What is seen of the stages.
fn live(
    node: String,
    snapshots: Snapshots,
    (proxy, attracted): (watch::Receiver<u64>, watch::Receiver<Attracted>),
    input: &Input,
    drain: &Drain,
    packet_path: Option<&PacketPath>,
) -> Live {
    Live {
        node,
        version: env!("CARGO_PKG_VERSION"),
        started: SystemTime::now(),
        snapshots,
        kernel: packet_path.map(PacketPath::live),
        proxy,
        attachments: packet_path.map(PacketPath::attachments),
        gone: packet_path.map(PacketPath::gone),
        following: input.following(),
        turn: turn(packet_path),
        draining: drain.told().subscribe(),
        drain: drain.progress(),
        attracted,
        peers: packet_path.map(PacketPath::peers),
        down: packet_path.map(PacketPath::down),
        alone: packet_path.map(PacketPath::alone),
        gateways: packet_path.map(PacketPath::gateways),
        missed: packet_path.map(PacketPath::missed),
        heard: packet_path.map(PacketPath::heard),
        history: packet_path.map(PacketPath::history),
        holdings: packet_path.map(PacketPath::holdings),
        keys: packet_path.map(PacketPath::keys),
    }
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

fn addresses(run: &Run) -> Addresses {
    let socket = run.admin_socket.admin_socket.clone();
    Addresses { socket, tcp: run.admin.0, metrics: run.metrics_addr, may_wait: run.take_over }
}

fn settings(run: &Run, node: &str) -> Settings {
    let with = |addresses: &[SocketAddr], protocol| {
        addresses.iter().map(move |&address| (address, protocol)).collect::<Vec<_>>()
    };
    let http = with(&run.http, ListenerProtocol::Http);
    let https = with(&run.https, ListenerProtocol::Https);
    let ports = http.into_iter().chain(https).collect();
    let (standalone, host_ports) =
        if run.no_xdp { (ports, BTreeMap::new()) } else { (BTreeMap::new(), ports) };
    let membership = if run.manifests.is_some() { Membership::Nodes } else { Membership::History };
    Settings { standalone, host_ports, membership, node: Some(node.to_owned()), ..meaning(&run.meaning) }
}

/// What `check` shares with `run`.
fn meaning(meaning: &Meaning) -> Settings {
    Settings {
        default_certificate: meaning.default_certificate.clone(),
        watch_without_class: meaning.watch_without_class,
        allow_external_name: meaning.allow_external_name,
        zone: meaning.zone.clone(),
        ..Settings::default()
    }
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

/// Has the packet path follow; without one, connections come as ever.
async fn steer(
    packet_path: Option<PacketPath>,
    key: Option<Given>,
    proxy: &Proxy,
    mut snapshots: Snapshots,
) -> Result<()> {
    match packet_path {
        Some(packet_path) => packet_path.run(key, proxy, snapshots).await,
        None => {
            // Refused until there is something to serve: who checks by connecting is told the truth.
            snapshots.wait_for(Option::is_some).await?;
            proxy.listen(&[])?;
            std::future::pending().await
        }
    }
}

/// Tells which VIPs the node may attract.
async fn attract(
    live: &Live,
    mut yielded: watch::Receiver<bool>,
    attracted: watch::Sender<Attracted>,
) -> Infallible {
    let mut live = live.clone();
    loop {
        let snapshot = live.snapshot().unwrap_or_default();
        let standing = Standing {
            turn: *live.turn.borrow(),
            // Without a packet path, VIPs are none of its concern.
            is_loaded: live.kernel_generation().is_some_and(|loaded| loaded > 0)
                && live.proxy_generation() > 0,
            snapshot: &snapshot,
            is_alone: live.is_alone(),
            lacks_key: live.keys().are_wanting(),
            has_yielded: live.draining.borrow().is_some()
                && (*yielded.borrow_and_update() || !live.history().opens_at(&live.node)),
        };
        let now = standing.attracted();
        attracted.send_if_modified(|before| {
            let is_new = *before != now;
            *before = now;
            is_new
        });
        // A part whose sender is gone stays as it was.
        tokio::select! {
            Ok(()) = live.turn.changed() => {}
            Ok(()) = live.snapshots.changed() => {}
            Ok(()) = live.draining.changed() => {}
            Ok(()) = yielded.changed() => {}
            Ok(()) = live.proxy.changed() => {}
            Ok(()) = writer::changed(&mut live.kernel) => {}
            Ok(()) = writer::changed(&mut live.history) => {}
            Ok(()) = writer::changed(&mut live.alone) => {}
            Ok(()) = writer::changed(&mut live.keys) => {}
            else => std::future::pending().await,
        }
    }
}

/// Whose turn it is. An agent without a packet path has nothing that another could have.
fn turn(packet_path: Option<&PacketPath>) -> watch::Receiver<Turn> {
    packet_path.map_or_else(|| watch::Sender::new(Turn::Holding).subscribe(), PacketPath::turn)
}

async fn told_to_stop() -> Result<()> {
    StopSignals::new()?.told().await;
    Ok(())
}

/// Lets requests end, unless it is told to stop once more; if there is a `next` agent, by the deadline of its drain. What is
/// in the kernel stays: it goes on forwarding to the other members.
async fn stop(
    mut proxy: Arc<Proxy>,
    last_words: Vec<LastWords>,
    grace: Duration,
    mut signals: StopSignals,
    next: Option<KeptDrain>,
) {
    // A snapshot may be on its way into the proxy: that thread lets go of it soon.
    let proxy = loop {
        match Arc::try_unwrap(proxy) {
            Ok(proxy) => break proxy,
            Err(shared) => proxy = shared,
        }
        sleep(PUBLISHING).await;
    };
    let (ending, last) = (proxy.ending(), Instant::now() + grace);
    let hurried = async {
        match next {
            Some(next) => next.hurry(&ending, last).await,
            None => std::future::pending().await,
        }
    };
    let (over, is_over) = oneshot::channel();
    // A thread that the end of the process does not wait for, as it would for one of the runtime's.
    let thread = thread::Builder::new().name("last words".to_owned()).spawn(move || {
        proxy.shutdown(grace);
        let unheard = last_words.iter().filter(|end| !end.wait(LAST_WRITES)).count();
        if unheard > 0 {
            warn!("some of the last requests are not in the access log, or in traces");
        }
        // Who is told once more does not listen.
        let _ = over.send(());
    });
    tokio::select! {
        result = is_over => if thread.is_err() || result.is_err() {
            warn!("the proxy did not stop in order");
        },
        never = hurried => match never {},
        () = signals.told() => warn!("told to stop again: connections that are left are cut"),
    }
}
