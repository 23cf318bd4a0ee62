//! An endpoint as a worker knows it, whichever backends have it: its load, its record, its idle connections.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::balance::Load;
use super::breach::Breaches;
use super::counted::Counted;
use super::ejection::Conduct;
use super::endpoint::EndpointConnection;
use super::multiplex::Shared;
use super::pending::Queues;
use super::policy;
use super::pool::{Keeping, Pool};
use crate::model::{BackendProtocol, EndpointState};

pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    /// What it speaks.
    pub(super) protocol: BackendProtocol,
    /// For its weights.
    pub(super) seed: u64,
    pub(super) load: Load,
    pub(super) conduct: Conduct,
    /// How it breaks the rules of HTTP.
    pub(super) breaches: Rc<Breaches>,
    pub(super) pool: Pool,
    /// Connections of HTTP/2, which are not taken and given back.
    pub(super) shared: Shared,
    /// Who waits for it.
    pub(super) queues: Queues,
    /// Lists of candidates that it is on.
    pub(super) places: Cell<usize>,
}

impl Upstream {
    /// One that nothing is known of; whether it joins others that are known.
    pub(super) fn new(
        (address, protocol): (SocketAddr, BackendProtocol),
        joins: bool,
        keeping: &Rc<Keeping>,
    ) -> Rc<Self> {
        let now = Instant::now();
        let (load, conduct, pool) = (Load::new(now, joins), Conduct::new(now), Pool::new(keeping));
        let (shared, queues, places) = (Shared::default(), Queues::default(), Cell::new(0));
        let (seed, breaches) = (policy::seed(address), Breaches::new(address, keeping));
        if protocol.proxy_header.is_some() {
            // A connection is its client's.
            pool.close();
        }
        Rc::new(Self { address, protocol, seed, load, conduct, breaches, pool, shared, queues, places })
    }

    /// Closes connections that have been idle for too long, or were closed by the endpoint.
    pub(super) fn sweep(&self, keeping: &Keeping) {
        if self.protocol.is_http2 { self.shared.sweep(keeping) } else { self.pool.sweep() }
    }

    /// Closes idle connections.
    pub(super) fn clear(&self) {
        self.pool.clear();
        self.shared.clear();
    }

    /// Closes idle connections, and keeps none any more.
    pub(super) fn close(&self) {
        self.pool.close();
        self.shared.close();
    }

    /// For people.
    pub(super) fn state(&self) -> EndpointState {
        EndpointState {
            known_by: 1,
            ejected_by: self.conduct.is_out().into(),
            requests: self.load.under_way(),
            idle: self.pool.len(),
            check: None,
        }
    }
}

/// A request's turn at an endpoint, from its choice to the end of the response, or of the tunnel that came of it.
pub(super) struct Turn {
    upstream: Rc<Upstream>,
    is_tunnel: Cell<bool>,
    /// When the request could be sent; none where nobody wants to know: there was no choice, and nothing is counted.
    began: Cell<Option<Instant>>,
    counted: Counted,
}

impl Turn {
    pub(super) fn new(upstream: Rc<Upstream>, began: Option<Instant>, counted: Counted) -> Self {
        upstream.load.begin();
        counted.begins();
        Self { upstream, is_tunnel: Cell::new(false), began: Cell::new(began), counted }
    }

    /// Where what becomes of it is counted.
    pub(super) fn counted(&self) -> &Counted {
        &self.counted
    }

    /// Its endpoint.
    pub(super) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// A connection for it was opened, which others need not wait for.
    pub(super) fn connected(&self) {
        if self.began.get().is_some() {
            self.began.set(Some(Instant::now()));
        }
    }

    /// The head of the response came; the last of the request was sent then, if that was later than its beginning.
    pub(super) fn answered(&self, sent: Option<Instant>) {
        if let Some((now, took)) = self.took(sent) {
            self.upstream.load.answered(now, took);
            self.counted.answered(took);
        }
    }

    /// The response is a tunnel.
    pub(super) fn becomes_tunnel(&self) {
        if !self.is_tunnel.replace(true) {
            self.upstream.load.begin_tunnel();
        }
    }

    /// The endpoint was at fault.
    pub(super) fn failed(&self) {
        if let Some((now, took)) = self.took(None) {
            self.upstream.load.failed(now, took);
        }
    }

    /// Its client would not wait any longer: that is no fault of the endpoint's.
    pub(super) fn given_up(&self) {
        if let Some((now, took)) = self.took(None) {
            self.upstream.load.given_up(now, took);
        }
    }

    /// The response has ended in order.
    pub(super) fn finish(self, connection: Box<EndpointConnection>) {
        self.upstream.pool.put(connection);
    }

    fn took(&self, sent: Option<Instant>) -> Option<(Instant, Duration)> {
        let began = self.began.get()?;
        let now = Instant::now();
        Some((now, now.saturating_duration_since(sent.unwrap_or(began))))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let load = &self.upstream.load;
        if self.is_tunnel.get() {
            load.end_tunnel()
        } else {
            load.end()
        }
        self.counted.ends();
        self.upstream.queues.next();
    }
}
