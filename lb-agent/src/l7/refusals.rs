//! What of clients' bytes and connections a worker refuses: each is counted, and the log is told why at a limited rate.

use std::array;
use std::net::IpAddr;
use std::time::Instant;

use super::guard::{Fault, Malformed};
use super::limits::Limit;
use super::news::{News, SELDOM};
use super::tls::HandshakeFailure;
use crate::metrics::Metrics;

/// Those of a worker, by their reasons.
pub(super) struct Refusals {
    metrics: Metrics,
    malformed: [News; Malformed::ALL.len()],
    limits: [News; Limit::ALL.len()],
    handshakes: [News; HandshakeFailure::ALL.len()],
}

impl Refusals {
    /// None yet.
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self { metrics: metrics.clone(), malformed: quiet(), limits: quiet(), handshakes: quiet() }
    }

    /// One more, of this client.
    pub(super) fn count(&self, client: IpAddr, fault: Fault) {
        let (news, reason, what) = match fault {
            Fault::Malformed(malformed) => {
                self.metrics.malformed(malformed);
                let news = &self.malformed[malformed as usize];
                (news, malformed.label(), "a client sent what could be read in two ways, or not at all")
            }
            Fault::Limit(limit) => {
                self.metrics.limit_reached(limit);
                (&self.limits[limit as usize], limit.name(), "a client reached a limit")
            }
        };
        // A connection that nobody needs any more ends so.
        if fault == Limit::IdleTime.into() {
            tracing::debug!(%client, reason, "{what}");
        } else {
            tell(news, client, reason, what);
        }
    }

    /// A handshake that failed.
    pub(super) fn handshake(&self, client: IpAddr, why: HandshakeFailure) {
        self.metrics.handshake_failed(why);
        // Who only looks whether somebody listens closes.
        if why == HandshakeFailure::Closed {
            tracing::debug!(%client, "a TLS handshake was broken off");
        } else {
            tell(&self.handshakes[why as usize], client, why.label(), "a TLS handshake failed");
        }
    }
}

fn quiet<const N: usize>() -> [News; N] {
    array::from_fn(|_| News::every(SELDOM))
}

fn tell(news: &News, client: IpAddr, reason: &str, what: &str) {
    match news.at(Instant::now()) {
        Some(untold) => tracing::info!(%client, reason, untold, "{what}"),
        None => tracing::debug!(%client, reason, "{what}"),
    }
}
