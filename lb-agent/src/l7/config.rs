//! What the proxy is told at its start; all the rest comes with snapshots.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::access_log::AccessLog;
use super::last_words::LastWords;
use super::limits::{Limit, Limits};
use super::trace::Tracing;
use super::trust::Trust;
use crate::beat::Beats;
use crate::model::Ejection;

/// Enough for most clusters; each of them is some twenty series of every node.
pub const DEFAULT_ROUTE_METRICS: usize = 500;

/// Seconds for which an idle connection to an endpoint is kept: less than the minute after which many servers close it.
pub const UPSTREAM_KEEPALIVE: u16 = 55;

/// Settings of the proxy.
#[derive(Clone, Debug)]
pub struct Config {
    /// Threads that carry traffic.
    pub workers: usize,
    /// Where connections come from.
    pub bind: Bind,
    /// Bytes of the longest packet of a client that fits between members, until more is known of the ways; `None` if
    /// there are no members.
    pub inner_mtu: Option<u16>,
    /// Limits in time.
    pub timeouts: Timeouts,
    /// How much clients may ask.
    pub limits: Limits,
    /// When an endpoint that fails is set aside, where its Service does not say.
    pub ejection: Ejection,
    /// Proxies in front of us.
    pub trust: Trust,
    /// Idle connections kept to one endpoint, per worker.
    pub idle_per_endpoint: usize,
    /// Where requests are logged; nowhere unless asked for.
    pub access_log: Option<AccessLog>,
    /// Where requests are traced to; nowhere unless asked for.
    pub tracing: Option<Tracing>,
    /// What responses name this node by, if they are to.
    pub served_by: Option<HeaderValue>,
    /// So many routes, and so many Services, have metrics of their own; with 0 none has.
    pub route_metrics: usize,
    /// Who watches whether the threads run.
    pub beats: Beats,
    /// The folder below which the kernel's files are.
    pub root: Arc<Path>,
}

/// Where connections come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bind {
    /// `sk_lookup` steers them to one group of sockets per IP family; the address that the client connected to
    /// is its listener's key in the snapshot.
    Steered,
    /// Ordinary sockets: each address is its listener's key in the snapshot, also with port 0.
    Addresses(Vec<SocketAddr>),
    /// Both: steered ones, and ordinary ones at these addresses.
    Both(Vec<SocketAddr>),
}

/// Limits in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// For a TCP connection to an endpoint.
    pub connect: Duration,
    /// From the end of a request to the head of its response, all attempts together.
    pub response: Duration,
    /// A client connection without requests.
    pub idle: Duration,
    /// A client that is to send the next part of a request's body.
    pub upload: Duration,
    /// Between two looks at a client that does not read what waits for it.
    pub download: Duration,
    /// An endpoint connection without requests.
    pub upstream_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::by(&Limits::default())
    }
}

impl Timeouts {
    /// Those of these limits that are times, and the usual ones.
    #[must_use]
    pub fn by(limits: &Limits) -> Self {
        Self {
            connect: Duration::from_secs(5),
            response: Duration::from_secs(60),
            idle: limits.time(Limit::IdleTime),
            upload: Duration::from_secs(30),
            download: Duration::from_secs(60),
            upstream_idle: Duration::from_secs(UPSTREAM_KEEPALIVE.into()),
        }
    }

    /// How often deadlines are compared: within a tenth of the shortest.
    pub(super) fn tick(&self, head: Duration) -> Duration {
        let Self { connect, response, idle, upload, download, upstream_idle } = *self;
        let all = [connect, response, idle, upload, download, upstream_idle, head];
        let shortest = all.into_iter().min().unwrap_or_default();
        (shortest / 10).clamp(Duration::from_millis(5), Duration::from_millis(500))
    }
}

impl Config {
    /// How long the head of a request, or a TLS handshake, may take.
    pub(super) const fn head_time(&self) -> Duration {
        self.limits.time(Limit::HeadTime)
    }

    /// How often deadlines are compared.
    pub(super) fn tick(&self) -> Duration {
        self.timeouts.tick(self.head_time())
    }

    /// Who has last words after the proxy has shut down: what was logged and traced, and is not written yet.
    #[must_use]
    pub fn last_words(&self) -> Vec<LastWords> {
        let log = self.access_log.as_ref().map(AccessLog::end);
        log.into_iter().chain(self.tracing.as_ref().map(Tracing::end)).collect()
    }

    /// The usual settings for these sockets.
    #[must_use]
    pub fn new(workers: usize, bind: Bind) -> Self {
        Self {
            workers,
            bind,
            inner_mtu: None,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            ejection: Ejection::default(),
            trust: Trust::default(),
            idle_per_endpoint: 1024,
            access_log: None,
            tracing: None,
            served_by: None,
            route_metrics: DEFAULT_ROUTE_METRICS,
            beats: Beats::default(),
            root: Path::new("/").into(),
        }
    }
}
