//! The proxy as the rest of the agent sees it: started once, given snapshots, shut down.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use super::checks::Checks;
use super::config::Config;
use super::descriptors;
use super::listen::{self, Bound, ListenError, Listening, SteeredSocket};
use super::live::{Compiler, Live};
use super::observer::Observer;
use super::overload::MemoryUse;
use super::phase::Phase;
use super::secured::Secured;
use super::segment::Segments;
use super::sticky::CookieKeys;
use super::tls::{Tickets, Tls, TlsError};
use super::worker::{self, Start};
use crate::metrics::Metrics;
use crate::model::{Left, Snapshot};

/// Why the proxy did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A socket could not be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A worker's thread or runtime could not be started.
    #[error("starting a worker")]
    Worker(#[from] io::Error),
    /// The system gives no random numbers.
    #[error("no random numbers from the system")]
    Random,
}

/// A worker that has not come to its tick for this long is stuck. The tick is half a second at most: a loaded machine
/// that runs a worker late by three of them has not killed it, and its silence would cost the node all new flows.
const STUCK: Duration = Duration::from_secs(2);

/// A running proxy. Until the first snapshot is published, connections wait at its sockets.
/// Dropped without `shutdown`, it cuts them all.
pub struct Proxy {
    live: Arc<ArcSwap<Live>>,
    compiler: Mutex<Compiler>,
    tickets: Tickets,
    cookies: CookieKeys,
    metrics: Metrics,
    bound: Vec<(SocketAddr, SocketAddr)>,
    /// Until it listens.
    waiting: Mutex<Vec<Bound>>,
    /// By worker, from then on.
    listening: OnceLock<Vec<Vec<Listening>>>,
    /// Done once the workers have the sockets.
    accepting: Once,
    steered: OnceLock<Vec<SteeredSocket>>,
    segments: Segments,
    /// To the workers.
    sockets: Vec<mpsc::UnboundedSender<Listening>>,
    phase: watch::Sender<Phase>,
    /// Of each worker: when its oldest connection began, while it drains.
    oldest: Vec<watch::Receiver<Option<Instant>>>,
    observer: Observer,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Binds the listening sockets and starts the workers. Nobody is answered before `listen`.
    ///
    /// # Errors
    /// `StartError` if a socket, TLS or a worker cannot be had; nothing is left running then.
    pub fn start(config: Config, metrics: Metrics) -> Result<Self, StartError> {
        let config = Config { limits: descriptors::fit(config.limits), ..config };
        let tickets = Tickets::random().map_err(|_| StartError::Random)?;
        metrics.traffic.limit(config.route_metrics);
        let cookies = CookieKeys::random().map_err(|_| StartError::Random)?;
        let secured = Secured::new()?;
        let checks = Checks::new(secured.clone(), metrics.checks.clone());
        let register = checks.register().clone();
        let compiler = Mutex::new(Compiler::new(Tls::new(tickets.clone())?, metrics.traffic.clone(), checks));
        let waiting = listen::bind(&config)?;
        let bound = waiting.iter().filter_map(|bound| Some((bound.key?, bound.address))).collect();
        let live = Arc::new(ArcSwap::from_pointee(Live::default()));
        let mut proxy = Self {
            live,
            compiler,
            tickets,
            cookies,
            metrics,
            bound,
            waiting: Mutex::new(waiting),
            listening: OnceLock::new(),
            accepting: Once::new(),
            steered: OnceLock::new(),
            segments: Segments::new(config.inner_mtu),
            sockets: Vec::new(),
            phase: watch::Sender::default(),
            oldest: Vec::new(),
            observer: Observer::new([].into(), register.clone()),
            threads: Vec::new(),
        };
        let (memory, mut asked) = (MemoryUse::default(), Vec::new());
        for number in 0..config.workers {
            let (to_worker, sockets) = mpsc::unbounded_channel();
            let (to_ask, questions) = mpsc::unbounded_channel();
            asked.push(to_ask);
            let (oldest, of_worker) = watch::channel(None);
            proxy.oldest.push(of_worker);
            let start = Start {
                config: config.clone(),
                sockets,
                questions,
                live: proxy.live.clone(),
                metrics: proxy.metrics.clone(),
                secured: secured.clone(),
                cookies: proxy.cookies.clone(),
                phase: proxy.phase.subscribe(),
                oldest,
                beat: config.beats.watch(format!("proxy worker {number}"), STUCK),
                seed: seed()?,
                memory: memory.clone(),
                looks_at_memory: number == 0,
            };
            proxy.sockets.push(to_worker);
            proxy.threads.push(spawn(number, start)?);
        }
        proxy.observer = Observer::new(asked.into(), register);
        Ok(proxy)
    }

    /// Listens from now on: at the sockets of the agent before, as far as it had some for the same addresses, and else
    /// at its own. Connections are accepted once there is a state to serve; until then they wait at the sockets. Once it
    /// listens, it does not begin again.
    ///
    /// # Errors
    /// `ListenError` if another program took an address since `start`.
    pub fn listen(&self, inherited: &[TcpListener]) -> Result<(), ListenError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            return Ok(());
        }
        let mut all = vec![Vec::new(); self.sockets.len()];
        for bound in waiting.drain(..) {
            for (own, dealt) in all.iter_mut().zip(bound.listen(inherited)?) {
                own.extend(dealt);
            }
        }
        let all = self.listening.get_or_init(|| all);
        self.segments.begin(at_vips(all));
        self.steered.get_or_init(|| steered(all));
        self.accept();
        Ok(())
    }

    /// Has the workers accept if there is both, sockets that listen and a state to serve. Called with `waiting` locked:
    /// whoever comes second, of `listen` and the first `publish`, sees what the other did.
    fn accept(&self) {
        let (Some(all), true) = (self.listening.get(), self.generation() > 0) else { return };
        self.accepting.call_once(|| {
            for (worker, own) in self.sockets.iter().zip(all) {
                for socket in own {
                    // A worker that is gone has been told of.
                    let _ = worker.send(socket.clone());
                }
            }
        });
    }

    /// Compiles a snapshot and puts it in place. When it returns, every request that begins is served from it;
    /// those under way keep what they have.
    pub fn publish(&self, snapshot: &Snapshot) {
        let mut compiler = self.compiler.lock().unwrap_or_else(PoisonError::into_inner);
        self.live.store(Arc::new(compiler.compile(snapshot)));
        let _waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.accept();
    }

    /// Goes by this secret from now on: nodes with the same one take each other's TLS tickets and cookies.
    pub fn go_by(&self, secret: &[u8]) {
        self.tickets.give(secret);
        self.cookies.give(secret);
    }

    /// Has clients that connect to VIPs from now on send packets of no more than so many bytes; of more than those before
    /// them if they `may_rise`. The node's own addresses are left alone: what comes in there goes to no other member.
    pub fn limit_packets(&self, bytes: u16, may_rise: bool) {
        if let Some(all) = self.listening.get() {
            self.segments.limit(at_vips(all), bytes, may_rise);
        }
    }

    /// Asks the workers what they know.
    #[must_use]
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// The generation that is served.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.live.load().generation
    }

    /// The sockets for the `sk_lookup` program: one group per IP family, one socket of each per worker.
    /// Empty with ordinary sockets alone, and before `listen`.
    #[must_use]
    pub fn steered_sockets(&self) -> &[SteeredSocket] {
        self.steered.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// All sockets that connections are accepted from, each once: what the next agent of this node takes over.
    pub fn listening_sockets(&self) -> impl Iterator<Item = &TcpListener> {
        let all = self.listening.get().into_iter().flatten().flatten();
        let mut seen = Vec::new();
        all.filter_map(move |listening| {
            let is_new = !seen.iter().any(|known| Arc::ptr_eq(known, &listening.socket));
            is_new.then(|| seen.push(listening.socket.clone())).map(|()| &*listening.socket)
        })
    }

    /// Of ordinary sockets: the configured address, and the one that it became (they differ for port 0).
    #[must_use]
    pub fn bound_addresses(&self) -> &[(SocketAddr, SocketAddr)] {
        &self.bound
    }

    /// Lets connections end in order, each by its protocol's way; closes those that have not at the deadline. It goes
    /// on accepting, for others may not know yet. A drain under way gets the new deadline.
    pub fn drain(&self, deadline: Instant) {
        self.phase.send_replace(Phase::Draining { deadline });
    }

    /// Calls a drain off. Connections that were told to end still do; all others stay.
    pub fn serve(&self) {
        self.phase.send_replace(Phase::Serving);
    }

    /// What can give connections another deadline while the proxy shuts down.
    #[must_use]
    pub fn ending(&self) -> Ending {
        Ending { phase: self.phase.clone() }
    }

    /// The connections that are open.
    #[must_use]
    pub fn left(&self) -> Left {
        let is_serving = *self.phase.borrow() == Phase::Serving;
        let began = self.oldest.iter().filter_map(|oldest| *oldest.borrow()).min();
        let oldest = began.filter(|_| !is_serving).map(|began| began.elapsed());
        Left { by_kind: self.metrics.open_connections(), at_kernel: 0, oldest }
    }

    /// Accepts no more connections, lets them end in order within `grace`, closes the rest. Blocks.
    pub fn shutdown(mut self, grace: Duration) {
        self.stop(grace);
    }

    fn stop(&mut self, grace: Duration) {
        // The listening sockets close when workers and we have let go of them.
        self.steered.take();
        self.listening.take();
        self.phase.send_replace(Phase::Stopping { deadline: Instant::now() + grace });
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
    }
}

/// The end of a proxy that shuts down.
#[derive(Clone, Debug)]
pub struct Ending {
    phase: watch::Sender<Phase>,
}

impl Ending {
    /// Has connections end by this deadline; nothing before the proxy shuts down.
    pub fn by(&self, deadline: Instant) {
        self.phase.send_if_modified(|phase| {
            let is_other = phase.is_stopping() && phase.deadline() != Some(deadline);
            if is_other {
                *phase = Phase::Stopping { deadline };
            }
            is_other
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// The sockets that connections to VIPs are steered to.
fn at_vips(sockets: &[Vec<Listening>]) -> impl Iterator<Item = &Listening> + Clone {
    sockets.iter().flatten().filter(|socket| socket.key.is_none())
}

fn steered(sockets: &[Vec<Listening>]) -> Vec<SteeredSocket> {
    let workers = sockets.iter().enumerate();
    let of_worker = |(worker, own): (usize, &'_ Vec<Listening>)| {
        let own = own.iter().filter(|socket| socket.key.is_none());
        own.map(|socket| SteeredSocket::new(worker, socket)).collect::<Vec<_>>()
    };
    workers.flat_map(of_worker).collect()
}

fn spawn(number: usize, start: Start) -> io::Result<JoinHandle<()>> {
    let (ready, is_ready) = std::sync::mpsc::channel();
    let thread =
        std::thread::Builder::new().name(format!("l7-{number}")).spawn(move || worker::run(start, &ready))?;
    is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("the worker ended at its start")))?;
    Ok(thread)
}

fn seed() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StartError::Random)?;
    Ok(u64::from_ne_bytes(bytes))
}
