//! The proxy as the rest of the agent sees it: started once, given snapshots, shut down.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::watch;

use super::config::Config;
use super::listen::{self, ListenError, SteeredSocket};
use super::live::{Compiler, Live};
use super::tls::{Tls, TlsError};
use super::worker::{self, Start};
use crate::metrics::Metrics;
use crate::model::Snapshot;

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

/// A running proxy. Until the first snapshot is published it closes every connection.
/// Dropped without `shutdown`, it cuts them all.
pub struct Proxy {
    live: Arc<ArcSwap<Live>>,
    compiler: Mutex<Compiler>,
    metrics: Metrics,
    bound: Vec<(SocketAddr, SocketAddr)>,
    steered: Vec<SteeredSocket>,
    stop: watch::Sender<Option<Duration>>,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Opens the listening sockets and starts the workers.
    ///
    /// # Errors
    /// `StartError` if a socket, TLS or a worker cannot be had; nothing is left running then.
    pub fn start(config: Config, metrics: Metrics) -> Result<Self, StartError> {
        let compiler = Mutex::new(Compiler::new(Tls::new()?));
        let sockets = listen::open(&config)?;
        let first = sockets.first().map(Vec::as_slice).unwrap_or_default();
        let bound = first.iter().filter_map(|socket| Some((socket.key?, socket.address))).collect();
        let steered = steered(&sockets);
        let live = Arc::new(ArcSwap::from_pointee(Live::default()));
        let (stop, stopped) = watch::channel(None);
        let mut proxy = Self { live, compiler, metrics, bound, steered, stop, threads: Vec::new() };
        for (number, sockets) in sockets.into_iter().enumerate() {
            let start = Start {
                config: config.clone(),
                sockets,
                live: proxy.live.clone(),
                metrics: proxy.metrics.clone(),
                stop: stopped.clone(),
                seed: seed()?,
            };
            proxy.threads.push(spawn(number, start)?);
        }
        Ok(proxy)
    }

    /// Compiles a snapshot and puts it in place. When it returns, every request that begins is served from it;
    /// those under way keep what they have.
    pub fn publish(&self, snapshot: &Snapshot) {
        let mut compiler = self.compiler.lock().unwrap_or_else(PoisonError::into_inner);
        self.live.store(Arc::new(compiler.compile(snapshot)));
    }

    /// The generation that is served.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.live.load().generation
    }

    /// The sockets for the `sk_lookup` program: one group per IP family, one socket of each per worker.
    /// Empty with ordinary sockets alone.
    #[must_use]
    pub fn steered_sockets(&self) -> &[SteeredSocket] {
        &self.steered
    }

    /// Of ordinary sockets: the configured address, and the one that it became (they differ for port 0).
    #[must_use]
    pub fn bound_addresses(&self) -> &[(SocketAddr, SocketAddr)] {
        &self.bound
    }

    /// Accepts no more connections, lets requests and tunnels end within `grace`, closes the rest. Blocks.
    pub fn shutdown(mut self, grace: Duration) {
        self.stop(grace);
    }

    fn stop(&mut self, grace: Duration) {
        // The listening sockets close when workers and we have let go of them.
        self.steered.clear();
        self.stop.send_replace(Some(grace));
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

fn steered(sockets: &[Vec<listen::Listening>]) -> Vec<SteeredSocket> {
    let workers = sockets.iter().enumerate();
    let of_worker = |(worker, own): (usize, &'_ Vec<listen::Listening>)| {
        let own = own.iter().filter(|socket| socket.key.is_none());
        own.map(|socket| SteeredSocket::new(worker, socket)).collect::<Vec<_>>()
    };
    workers.flat_map(of_worker).collect()
}

fn spawn(number: usize, start: Start) -> io::Result<JoinHandle<()>> {
    let (ready, is_ready) = mpsc::channel();
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
