//! A worker: one thread, one runtime, and everything that its requests touch. Nothing here is shared with
//! another worker but the pointer to the current state, and counters.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use http::{HeaderMap, Request};
use slab::Slab;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval};

use super::accept::accept;
use super::admission::Admission;
use super::candidates::Candidates;
use super::client::Client;
use super::config::Config;
use super::date::Date;
use super::deadline::{Deadline, Deadlines};
use super::endpoint::EndpointConnection;
use super::listen::Listening;
use super::live::Live;
use super::multiplex::Multiplexed;
use super::news::{News, SELDOM};
use super::observer::Question;
use super::overload::{self, MemoryUse, Overload};
use super::pending::Bounds;
use super::phase::Phase;
use super::pool::Keeping;
use super::refusals::Refusals;
use super::reply::Reply;
use super::request_id::RequestIds;
use super::route::Route;
use super::secured::{EndpointStream, EndpointTlsFailure, Secured};
use super::send_proxy::Ends;
use super::shortage::{Shortage, Unconnected};
use super::splice::Pipes;
use super::sticky::CookieKeys;
use super::tls::CertificateIndex;
use super::upstream::{Turn, Upstream};
use super::upstreams::Upstreams;
use super::{authority, drain, send_proxy};
use crate::beat::Beat;
use crate::metrics::Metrics;
use crate::model::{Host, ListenerProtocol};

/// What a worker's thread is started with.
pub(super) struct Start {
    pub(super) config: Config,
    /// Sockets to accept from, once there are any.
    pub(super) sockets: mpsc::UnboundedReceiver<Listening>,
    /// What people ask.
    pub(super) questions: mpsc::UnboundedReceiver<Question>,
    pub(super) live: Arc<ArcSwap<Live>>,
    pub(super) metrics: Metrics,
    pub(super) secured: Secured,
    pub(super) cookies: CookieKeys,
    pub(super) phase: watch::Receiver<Phase>,
    /// While it drains: when the oldest of its connections began.
    pub(super) oldest: watch::Sender<Option<Instant>>,
    /// Says that the thread runs.
    pub(super) beat: Beat,
    /// For request ids.
    pub(super) seed: u64,
    /// What all workers together use.
    pub(super) memory: MemoryUse,
    /// Whether this one looks at it for the others, too.
    pub(super) looks_at_memory: bool,
}

/// A worker's state.
pub(super) struct Worker {
    pub(super) config: Config,
    pub(super) metrics: Metrics,
    pub(super) deadlines: Rc<Deadlines>,
    pub(super) upstreams: Upstreams,
    /// For long bodies.
    pub(super) pipes: Arc<Pipes>,
    secured: Secured,
    /// Of what is short for connections to endpoints.
    shortages: News,
    pub(super) admission: Rc<Admission>,
    pub(super) refusals: Refusals,
    pub(super) overload: Overload,
    pub(super) ids: RequestIds,
    pub(super) date: Date,
    live: RefCell<Cache<Arc<ArcSwap<Live>>, Arc<Live>>>,
    pub(super) phase: Cell<Phase>,
    /// When each began.
    pub(super) connections: RefCell<Slab<Instant>>,
    /// Told when the last connection of a draining worker has ended.
    pub(super) empty: Notify,
}

/// Runs a worker on the calling thread until it is stopped. `ready` hears whether it could begin.
pub(super) fn run(start: Start, ready: &std::sync::mpsc::Sender<io::Result<()>>) {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    runtime.block_on(async {
        let Start {
            config,
            mut sockets,
            mut questions,
            live,
            metrics,
            secured,
            cookies,
            mut phase,
            oldest,
            beat,
            seed,
            memory,
            looks_at_memory,
        } = start;
        if looks_at_memory {
            spawn_local(overload::follow_memory(memory.clone(), config.root.clone()));
        }
        let worker = Worker::new(config, live, metrics, secured, cookies, seed, memory);
        spawn_local(overload::follow(worker.clone()));
        spawn_local(tick(worker.clone(), beat));
        spawn_local(drain::follow(worker.clone(), phase.clone(), oldest));
        drop(ready.send(Ok(())));
        let (mut accepting, told) = (JoinSet::new(), phase.clone());
        let deadline = loop {
            tokio::select! {
                Some(socket) = sockets.recv() => {
                    accepting.spawn_local(accept(worker.clone(), socket, told.clone()));
                }
                Some(question) = questions.recv() => worker.upstreams.answer(&question),
                stopping = phase.wait_for(|phase| phase.is_stopping()) => {
                    break stopping.ok().and_then(|phase| phase.deadline()).unwrap_or_else(Instant::now);
                }
            }
        };
        // They end when they have taken what waited; a panic there has been told already.
        while accepting.join_next().await.is_some() {}
        worker.finish(deadline).await;
    });
}

impl Worker {
    fn new(
        config: Config,
        live: Arc<ArcSwap<Live>>,
        metrics: Metrics,
        secured: Secured,
        cookies: CookieKeys,
        seed: u64,
        memory: MemoryUse,
    ) -> Rc<Self> {
        let deadlines = Deadlines::new(config.tick());
        let keeping =
            Keeping::new(&deadlines, config.idle_per_endpoint, config.timeouts.upstream_idle, &metrics);
        let admission = Admission::new(&config.limits, config.workers);
        let bounds = Bounds::new(&config.limits, config.workers, config.timeouts.response);
        let overload = Overload::new(&config.limits, memory);
        let refusals = Refusals::new(&metrics);
        Rc::new(Self {
            overload,
            config,
            pipes: Pipes::new(&metrics.upstream),
            metrics,
            upstreams: Upstreams::new(keeping, bounds, cookies),
            secured,
            shortages: News::every(SELDOM),
            admission,
            refusals,
            deadlines,
            ids: RequestIds::new(seed),
            date: Date::now(),
            live: RefCell::new(Cache::new(live)),
            phase: Cell::default(),
            connections: RefCell::default(),
            empty: Notify::new(),
        })
    }

    /// What the listener with this key speaks, and its certificates of now.
    pub(super) fn listener(&self, key: SocketAddr) -> Option<(ListenerProtocol, Arc<CertificateIndex>)> {
        let mut live = self.live.borrow_mut();
        let listener = live.load().listeners.get(&key)?;
        Some((listener.protocol, listener.routes.certificates.clone()))
    }

    /// The endpoints of now for a request that waits for one: since it began, they may have changed.
    pub(super) fn endpoints<T>(
        &self,
        client: &Client,
        request: &Request<T>,
    ) -> Result<Rc<Candidates>, Reply> {
        self.upstreams.of(&self.route(client, request.headers(), request.uri().path())?.target)
    }

    /// The route of a client's settled request in the current state.
    pub(super) fn route(
        &self,
        client: &Client,
        headers: &HeaderMap,
        path: &str,
    ) -> Result<Arc<Route>, Reply> {
        let host: &str = &Host::normalise(authority::of(headers));
        let mut live = self.live.borrow_mut();
        let live = live.load();
        let listener = live.listeners.get(&client.listener).ok_or(Reply::NoRoute)?;
        let is_for = |name: &str| name == host || listener.routes.certificates.are_one(name, host);
        if !client.asked_for.get().is_none_or(|name| is_for(name)) {
            return Err(Reply::Misdirected);
        }
        let is_same = |one: &Arc<Route>, other: &Arc<Route>| Arc::ptr_eq(&one.target, &other.target);
        let (_, route) = listener.routes.router.lead(host, path, is_same)?;
        Ok(route.clone())
    }

    /// A new connection for a request's turn, counted; within this time, or that for connecting.
    pub(super) async fn connect(
        &self,
        turn: &Turn,
        ends: Ends,
        within: Duration,
    ) -> Result<Box<EndpointConnection>, Unconnected> {
        let stream = self.open(turn, ends, within).await?;
        let connection = EndpointConnection::new(stream, &self.deadlines, &turn.upstream().breaches);
        Ok(Box::new(connection))
    }

    /// A new HTTP/2 connection, counted.
    pub(super) async fn multiplex(
        &self,
        turn: &Turn,
        ends: Ends,
        within: Duration,
    ) -> Result<Rc<Multiplexed>, Unconnected> {
        let opening = async {
            let stream = self.dial(turn.upstream(), ends).await?;
            Multiplexed::new(stream).await.ok_or(Unconnected::Refused)
        };
        turn.counted().connecting(self.in_time(within, opening)).await
    }

    /// A new stream, counted.
    pub(super) async fn open(
        &self,
        turn: &Turn,
        ends: Ends,
        within: Duration,
    ) -> Result<EndpointStream, Unconnected> {
        let opening = self.dial(turn.upstream(), ends);
        turn.counted().connecting(self.in_time(within, opening)).await
    }

    async fn in_time<T>(
        &self,
        within: Duration,
        opening: impl Future<Output = Result<T, Unconnected>>,
    ) -> Result<T, Unconnected> {
        let deadline = Deadline::new(&self.deadlines);
        deadline.set(within);
        let opened = deadline.bound(opening).await.unwrap_or(Err(Unconnected::Refused));
        self.metrics.upstream.connect(opened.is_ok());
        opened
    }

    async fn dial(&self, endpoint: &Upstream, ends: Ends) -> Result<EndpointStream, Unconnected> {
        let connected = send_proxy::connect(endpoint.address, &endpoint.protocol, Some(ends)).await;
        let stream = connected.map_err(|error| self.unconnected(endpoint, &error))?;
        let secured = self.secured.secure(&endpoint.protocol, stream).await;
        secured.map_err(|error| {
            self.metrics.upstream.handshake_failed(EndpointTlsFailure::of(&error));
            Unconnected::Refused
        })
    }

    fn unconnected(&self, endpoint: &Upstream, error: &io::Error) -> Unconnected {
        let Some(shortage) = Shortage::of(error) else { return Unconnected::Refused };
        self.metrics.upstream.short(shortage);
        if let Some(untold) = self.shortages.at(Instant::now()) {
            let endpoint = endpoint.address;
            tracing::warn!(%error, %endpoint, untold, "no connections to endpoints: this system has nothing left for them");
        }
        Unconnected::Short
    }
}

/// Time passes: deadlines, idle connections to endpoints, and states that no request has asked for since.
async fn tick(worker: Rc<Worker>, beat: Beat) {
    let mut interval = interval(worker.deadlines.tick());
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sweep_every = worker.deadlines.ticks(Duration::from_secs(1));
    let mut until_sweep = sweep_every;
    loop {
        interval.tick().await;
        beat.touch();
        worker.deadlines.advance();
        worker.date.look();
        until_sweep -= 1;
        if until_sweep == 0 {
            until_sweep = sweep_every;
            worker.live.borrow_mut().load();
            worker.upstreams.sweep(&worker.metrics);
            worker.pipes.sweep();
            if worker.admission.look() {
                tracing::warn!("nearly as many connections are open as may be: idle ones are closed sooner");
                worker.deadlines.wake_all();
            }
        }
    }
}
