//! What is known of a request when its response is gone.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri, Version};
use rustls::{ProtocolVersion, ServerConnection};

use crate::l7::client::Client;
use crate::l7::outcome::{Ended, Outcome};
use crate::l7::reply::{Blame, Reply};
use crate::l7::route::Names;

/// A client's TLS session.
#[derive(Debug)]
pub(in crate::l7) struct Session {
    /// `TLSv1.3`
    pub(in crate::l7) version: &'static str,
    /// The name that it asked for.
    pub(in crate::l7) sni: Option<Box<str>>,
}

impl Session {
    /// What was agreed on.
    pub(in crate::l7) fn of(connection: &ServerConnection) -> Self {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "-",
        };
        Self { version, sni: connection.server_name().map(Into::into) }
    }
}

/// A request.
#[derive(Clone, Debug)]
pub(in crate::l7) struct Record {
    pub(in crate::l7) began: Instant,
    pub(super) id: HeaderValue,
    /// The trace that it belongs to, if requests are traced.
    pub(in crate::l7) trace: Option<String>,
    pub(super) client: IpAddr,
    pub(super) listener: SocketAddr,
    pub(super) session: Option<Arc<Session>>,
    /// `None` where what came is no request line.
    pub(in crate::l7) method: Option<Method>,
    pub(super) host: Option<HeaderValue>,
    /// As the client sent it.
    pub(super) uri: Option<Uri>,
    pub(super) version: Option<Version>,
    pub(super) names: Option<Arc<Names>>,
    pub(in crate::l7) bytes_out: u64,
    pub(super) bytes_in: u64,
    pub(super) attempts: u32,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) upstream_time: Option<Duration>,
    pub(in crate::l7) took: Duration,
    pub(in crate::l7) outcome: Outcome,
}

/// What the way of a request adds, wherever it is: all in one thread.
#[derive(Debug, Default)]
pub(in crate::l7) struct Notes {
    attempts: Cell<u32>,
    endpoint: Cell<Option<SocketAddr>>,
    tried: Cell<Option<Instant>>,
    answered: Cell<Option<Instant>>,
    received: Cell<u64>,
}

impl Notes {
    /// It is sent to this endpoint.
    pub(in crate::l7) fn tried(&self, endpoint: SocketAddr) {
        self.attempts.set(self.attempts.get() + 1);
        self.endpoint.set(Some(endpoint));
        if self.tried.get().is_none() {
            self.tried.set(Some(Instant::now()));
        }
    }

    /// The head of a response came.
    pub(in crate::l7) fn answered(&self) {
        self.answered.set(Some(Instant::now()));
    }

    /// So much of its body came.
    pub(in crate::l7) fn received(&self, bytes: usize) {
        self.received.set(self.received.get() + bytes as u64);
    }
}

impl Record {
    /// Of a request whose head has come.
    pub(in crate::l7) fn new(client: &Client, parts: &Parts, id: &HeaderValue, began: Instant) -> Self {
        Self {
            client: client.origin.client(&parts.headers, &client.worker.config.trust),
            method: Some(parts.method.clone()),
            host: parts.headers.get(http::header::HOST).cloned(),
            uri: Some(parts.uri.clone()),
            version: Some(parts.version),
            ..Self::unread(client, id, began)
        }
    }

    /// Of one that the HTTP library has not seen, and that is refused.
    pub(in crate::l7) fn refused(client: &Client, id: &HeaderValue, reply: Reply) -> Box<Self> {
        let unread = Self::unread(client, id, Instant::now());
        Box::new(Self { outcome: Outcome::refused(reply), ..unread })
    }

    fn unread(client: &Client, id: &HeaderValue, began: Instant) -> Self {
        Self {
            began,
            id: id.clone(),
            trace: None,
            client: client.origin.peer(),
            listener: client.listener,
            session: client.session.get().cloned(),
            method: None,
            host: None,
            uri: None,
            version: None,
            names: None,
            bytes_out: 0,
            bytes_in: 0,
            attempts: 0,
            endpoint: None,
            upstream_time: None,
            took: Duration::ZERO,
            outcome: Outcome { status: StatusCode::default(), reply: None, call: None, ended: Ended::Whole },
        }
    }

    /// It is over.
    pub(in crate::l7) fn end(
        &mut self,
        took: Duration,
        outcome: Outcome,
        names: Option<Arc<Names>>,
        notes: &Notes,
    ) {
        (self.took, self.outcome, self.names) = (took, outcome, names);
        self.bytes_in = notes.received.get();
        self.attempts = notes.attempts.get();
        self.endpoint = notes.endpoint.get();
        let tried = notes.tried.get();
        let until = notes.answered.get().unwrap_or(self.began + took);
        self.upstream_time = tried.map(|tried| until.saturating_duration_since(tried));
    }

    /// Whether it is somebody else's fault than the client's.
    pub(super) fn is_bad(&self) -> bool {
        self.outcome.blame().is_some_and(|blame| blame != Blame::Client)
    }
}
