//! The clients: one thread in the client's namespace that has all connections, and what became of them.

pub mod connect;
pub(crate) mod http1;
mod http2;
mod life;
pub(crate) mod messages;
mod requests;
mod streams;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc as queue, watch};
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;

use self::connect::{Caller, ROUGH_PORTS};
use self::life::{Life, Phase, Told};
use self::streams::Stream;
use super::fate::{End, Failure, Fate, Flow};
use super::kind::Kind;
use super::thread_time;
use crate::lab::Namespace;
use crate::lab::address::Addresses;
use crate::lab::site::SHOP;
use crate::lab::wait::eventually;

/// Connections that are being opened at one time.
const AT_ONCE: usize = 64;

/// Buffers of sockets with a stream: what is under way in them is no longer than a second.
const SMALL: u32 = 16 * 1024;

/// Clients of each kind that connect anew.
const CALLERS: u16 = 8;

/// 100 MB, which nobody gets to the end of at this rate.
const SLOW: Stream = Stream { bytes: 100_000_000, rate: 8_192 };

/// What is opened, and where to.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Connections in all, of each kind as many.
    pub connections: usize,
    /// Where to; IPv4 and IPv6 take turns.
    pub vip: Addresses,
    /// For TLS, without ALPN.
    pub tls: Arc<ClientConfig>,
    /// Bytes and rate of the first download and upload of each IP family, which are to reach their end.
    pub whole: (u64, u64),
    /// How long opening all may take.
    pub patience: Duration,
}

/// Connections that live.
#[derive(Debug)]
pub struct Clients {
    phase: watch::Sender<Phase>,
    told: Arc<Told>,
    thread: JoinHandle<Result<(Vec<Fate>, f64)>>,
    failures: mpsc::Receiver<Failure>,
}

impl Clients {
    /// Opens them, from this namespace, and waits until all are.
    ///
    /// # Errors
    /// The first one's that cannot be opened.
    pub fn open(namespace: &Namespace, plan: &Plan) -> Result<Self> {
        let (phase, phases) = watch::channel(Phase::Opening);
        let (failed, failures) = mpsc::channel();
        let told = Arc::new(Told::default());
        let all = All { plan: plan.clone(), phases, told: told.clone(), failed };
        let namespace = namespace.clone();
        let thread =
            thread::Builder::new().name("clients".into()).spawn(move || namespace.run(|| all.live()))?;
        let clients = Self { phase, told, thread, failures };
        eventually("all connections", plan.patience, || {
            if let Ok(failure) = clients.failures.try_recv() {
                return Ok(Err(anyhow!("a connection could not be opened: {}", failure.why)));
            }
            let open = clients.told.count();
            ensure!(open >= plan.connections, "{open} of {} are open", plan.connections);
            Ok(Ok(()))
        })??;
        clients.phase.send(Phase::Live).context("the clients ended")?;
        Ok(clients)
    }

    /// The connections that were opened to be held.
    #[must_use]
    pub fn flows(&self) -> Vec<Flow> {
        self.told.opened()
    }

    /// Lets each prove once more that it lives, and ends all: their fates, and the processor time in seconds that
    /// they took.
    ///
    /// # Errors
    /// If one panicked.
    pub fn end(self) -> Result<(Vec<Fate>, f64)> {
        self.phase.send(Phase::Last).context("the clients ended")?;
        self.thread.join().map_err(|_| anyhow!("the clients panicked"))?
    }
}

/// What the clients' thread has.
struct All {
    plan: Plan,
    phases: watch::Receiver<Phase>,
    told: Arc<Told>,
    failed: mpsc::Sender<Failure>,
}

impl All {
    fn live(self) -> Result<(Vec<Fate>, f64)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let fates = LocalSet::new().block_on(&runtime, self.run())?;
        Ok((fates, thread_time()))
    }

    async fn run(mut self) -> Result<Vec<Fate>> {
        self.phases = told_within(self.phases);
        let all = Rc::new(self);
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let (sender, mut fates) = queue::unbounded_channel();
        let held: Vec<_> = (0..all.plan.connections as u64)
            .map(|number| {
                let (all, turns) = (all.clone(), turns.clone());
                tokio::task::spawn_local(async move { all.one(number, &turns).await })
            })
            .collect();
        let mut phases = all.phases.clone();
        let every = all.clone();
        tokio::task::spawn_local(async move {
            // New connections would disturb opening. Without the other end there is nobody to call for.
            let phase =
                every.phases.clone().wait_for(|phase| *phase != Phase::Opening).await.map(|phase| *phase);
            if phase.is_ok_and(|phase| phase == Phase::Live) {
                every.callers(&sender);
            }
        });
        // Whoever has the sender is gone when the run is given up.
        let _ = phases.wait_for(|phase| *phase == Phase::Last).await;
        let mut ends = Vec::with_capacity(held.len());
        for one in held {
            ends.extend(one.await?);
        }
        while let Some(fate) = fates.recv().await {
            ends.push(fate);
        }
        Ok(ends)
    }

    fn callers(&self, fates: &queue::UnboundedSender<Fate>) {
        let share = (ROUGH_PORTS.end - ROUGH_PORTS.start) / CALLERS;
        for number in 0..CALLERS {
            let from = ROUGH_PORTS.start + number * share;
            for kind in [Kind::Connect, Kind::ConnectRough] {
                let vip = self.vip(kind, number.into());
                let caller = Caller { kind, vip, ports: from..from + share };
                tokio::task::spawn_local(caller.call(self.phases.clone(), fates.clone()));
            }
        }
    }

    fn vip(&self, kind: Kind, number: u64) -> SocketAddr {
        let both = self.plan.vip.both();
        SocketAddr::new(both[(number % 2) as usize], kind.port())
    }

    /// A connection from its opening to its end; none if it was not opened.
    async fn one(&self, number: u64, turns: &Arc<Semaphore>) -> Option<Fate> {
        let kind = Kind::HELD[(number / 2 % Kind::HELD.len() as u64) as usize];
        let turn = turns.clone().acquire_owned().await.ok()?;
        let vip = self.vip(kind, number);
        let stream = match connect(kind, vip).await {
            Ok(stream) => stream,
            Err(failure) => return self.not_opened(kind, vip, failure),
        };
        let life = Life {
            number,
            flow: Flow { client: stream.local_addr().ok()?, vip },
            phase: self.phases.clone(),
            told: self.told.clone(),
            stall: AtomicU64::new(0),
            turn: RefCell::new(Some(turn)),
        };
        let (end, why) = match self.live_as(kind, &life, stream).await {
            Ok(()) => (End::Kept, String::new()),
            Err(failure) if !life.is_open() => return self.not_opened(kind, vip, failure),
            Err(failure) => (failure.end, failure.why),
        };
        Some(Fate { kind, flow: life.flow, end, why, at: Instant::now(), stall: life.stall() })
    }

    fn not_opened(&self, kind: Kind, vip: SocketAddr, failure: Failure) -> Option<Fate> {
        let why = format!("{} to {vip}: {}", kind.label(), failure.why);
        // Nobody asks any more once the run has failed.
        let _ = self.failed.send(Failure { why, ..failure });
        None
    }

    async fn live_as(&self, kind: Kind, life: &Life, stream: TcpStream) -> Result<(), Failure> {
        match kind {
            Kind::Idle => requests::live(life, stream, true).await,
            Kind::KeepAlive => requests::live(life, stream, false).await,
            Kind::Tls => requests::live(life, self.secure(stream, &[]).await?, false).await,
            Kind::Http2 => http2::live(life, self.secure(stream, &[b"h2"]).await?, SLOW).await,
            Kind::WebSocket => messages::live(life, stream).await,
            Kind::Download => streams::download(life, stream, self.amount(life.number)).await,
            Kind::Upload => streams::upload(life, stream, self.amount(life.number)).await,
            Kind::Connect | Kind::ConnectRough => Err(Failure::new(End::Wrong, "not to be held")),
        }
    }

    fn amount(&self, number: u64) -> Stream {
        let (bytes, rate) = self.plan.whole;
        let is_first = number / (2 * Kind::HELD.len() as u64) == 0;
        if is_first { Stream { bytes, rate } } else { SLOW }
    }

    async fn secure(
        &self,
        stream: TcpStream,
        alpn: &[&[u8]],
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
        let mut config = ClientConfig::clone(&self.plan.tls);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(SHOP).map_err(|error| Failure::new(End::Wrong, error.to_string()))?;
        Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    }
}

/// The same phases, told by a task of this thread: those that another thread wakes have their turn only now and then while
/// there is something to do, and of thousands of clients the last would hear of it half a minute later.
fn told_within(mut phases: watch::Receiver<Phase>) -> watch::Receiver<Phase> {
    let (within, told) = watch::channel(*phases.borrow());
    tokio::task::spawn_local(async move {
        while phases.changed().await.is_ok() {
            within.send_replace(*phases.borrow_and_update());
        }
    });
    told
}

async fn connect(kind: Kind, vip: SocketAddr) -> Result<TcpStream, Failure> {
    let socket = if vip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    match kind {
        Kind::Download => socket.set_recv_buffer_size(SMALL)?,
        Kind::Upload => socket.set_send_buffer_size(SMALL)?,
        _ => {}
    }
    let stream = tokio::time::timeout(life::PATIENCE, socket.connect(vip)).await;
    let stream = stream.map_err(|_| Failure::new(End::TimedOut, "no connection"))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
