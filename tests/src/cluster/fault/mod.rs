//! A proxy in front of the API server that misbehaves on demand, and sees every request. Clients reach it with the
//! same tokens and the same authority as the API server.

mod matching;
mod proxy;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;

use self::proxy::Upstream;
use super::control_plane::ControlPlane;

pub use self::matching::Matching;

/// A request that came, and how it was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// `GET`
    pub method: http::Method,
    /// `/apis/networking.k8s.io/v1/ingresses`
    pub path: String,
    /// `watch=true&resourceVersion=5`, or nothing.
    pub query: String,
    /// The client's own name for itself.
    pub user_agent: String,
    /// The answer's code, ours or the API server's.
    pub status: u16,
}

/// What it does instead of passing a request on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Instead {
    Answer(u16),
    ExpiredWatch,
}

/// What is switched on.
#[derive(Clone, Default, Debug)]
struct Switches {
    delay: Duration,
    refuses: bool,
    instead: Vec<(Matching, Instead)>,
}

#[derive(Debug)]
struct State {
    switches: Mutex<Switches>,
    seen: Mutex<Vec<Seen>>,
    /// Connections that were made before a change of it end with the change.
    cuts: watch::Sender<u64>,
}

/// A running proxy without faults at first; it ends with this value.
#[derive(Debug)]
pub struct Fault {
    address: SocketAddr,
    state: Arc<State>,
    _end: watch::Sender<()>,
}

impl Fault {
    /// Starts it on a port of the kernel's choice.
    ///
    /// # Errors
    /// If no thread or socket can be had.
    pub fn before(control_plane: &ControlPlane) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let upstream = Upstream::of(control_plane)?;
        let state = State { switches: Mutex::default(), seen: Mutex::default(), cuts: watch::Sender::new(0) };
        let state = Arc::new(state);
        let (end, ended) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = state.clone();
        thread::Builder::new()
            .name("fault".to_owned())
            .spawn(move || runtime.block_on(proxy::serve(listener, upstream, shared, ended)))?;
        Ok(Self { address, state, _end: end })
    }

    /// What clients are told.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// From now on each answer comes so much later.
    pub fn delay(&self, by: Duration) {
        self.switches().delay = by;
    }

    /// From now on these requests get an answer with this code, and never reach the API server. Rules that were
    /// made earlier come first.
    pub fn answer(&self, matching: Matching, status: u16) {
        self.switches().instead.push((matching, Instead::Answer(status)));
    }

    /// From now on these watches begin, and end, with an ERROR event: 410, what was asked for has been compacted.
    pub fn expire(&self, matching: Matching) {
        self.switches().instead.push((matching, Instead::ExpiredWatch));
    }

    /// From now on new connections are closed at once; those that stand go on.
    pub fn refuse(&self) {
        self.switches().refuses = true;
    }

    /// Everything passes again.
    pub fn heal(&self) {
        *self.switches() = Switches::default();
    }

    /// Cuts all connections, whatever passes over them.
    pub fn cut(&self) {
        self.state.cuts.send_modify(|count| *count += 1);
    }

    /// The requests that were answered, since the start or since `forget`.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.state.seen).clone()
    }

    /// How many requests are as described.
    #[must_use]
    pub fn count(&self, matching: &Matching) -> usize {
        locked(&self.state.seen)
            .iter()
            .filter(|seen| matching.holds(&seen.method, &seen.path, &seen.query))
            .count()
    }

    /// Begins to count anew.
    pub fn forget(&self) {
        locked(&self.state.seen).clear();
    }

    fn switches(&self) -> MutexGuard<'_, Switches> {
        locked(&self.state.switches)
    }
}

/// No one panics while holding one.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
