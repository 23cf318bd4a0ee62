//! Keeps this node's Lease: renewed in time, and written at once when there is something new to say.
//!
//! A restart that is quicker than the Lease is none for the cluster: what an earlier process of this node said holds
//! until it runs out, or until this one is ready. The process that was ready last speaks for the node; one that was
//! superseded is silent, unless its successor falls silent first.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::error::{Remedy, StatusError, ask, write};
use super::lease::{AgentState, NodeLease};
use super::names;
use super::pace::jittered;
use crate::metrics::{StatusMetrics, Written};
use crate::model::{EdgeNode, Loaded};

/// Changes come in groups: they are written together.
const GROUP: Duration = Duration::from_millis(20);

/// How long the Lease lasts, and how often it is renewed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The leader waits for as long without a renewal.
    pub(super) period: Duration,
    /// Renewed every so often.
    pub(super) renewal: Duration,
    /// A request may take as long.
    pub(super) patience: Duration,
}

/// What the Lease says, as its parts come to be.
pub(super) struct Says {
    /// `None` while another agent speaks for this node.
    pub(super) state: watch::Receiver<Option<AgentState>>,
    pub(super) loaded: watch::Receiver<Loaded>,
    /// For this node's own addresses.
    pub(super) edge_nodes: watch::Receiver<Option<Vec<EdgeNode>>>,
}

impl Says {
    fn addresses(&self, node: &str) -> Vec<IpAddr> {
        let nodes = self.edge_nodes.borrow();
        let own = nodes.iter().flatten().find(|found| found.name == node);
        own.map(|own| own.addresses.clone()).unwrap_or_default()
    }

    async fn change(&mut self) {
        // A sender that is gone says nothing new.
        tokio::select! {
            Ok(()) = self.state.changed() => {}
            Ok(()) = self.loaded.changed() => {}
            else => std::future::pending().await,
        }
    }
}

/// The keeper.
pub(super) struct Keeper {
    leases: Api<Lease>,
    node: String,
    identity: String,
    terms: Terms,
    says: Says,
    claim: Claim,
    /// The version that this process wrote last, which it may replace unseen.
    version: Option<String>,
    metrics: StatusMetrics,
}

impl Keeper {
    pub(super) fn new(
        leases: Api<Lease>,
        node: &str,
        identity: &str,
        terms: Terms,
        says: Says,
        metrics: StatusMetrics,
    ) -> Self {
        Self {
            leases,
            node: node.to_owned(),
            identity: identity.to_owned(),
            terms,
            says,
            claim: Claim::new(identity),
            version: None,
            metrics,
        }
    }

    /// Keeps it, for as long as it is polled.
    pub(super) async fn run(&mut self) -> Infallible {
        let mut is_told = false;
        loop {
            let state = *self.says.state.borrow_and_update();
            let Some(state) = state else {
                self.says.change().await;
                continue;
            };
            let wait = match self.renew(state).await {
                Ok(wait) => {
                    is_told = false;
                    wait
                }
                Err(error) if error.remedy() == Remedy::LookAgain => Duration::ZERO,
                Err(error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        warn!(%error, lease = names::node_lease(&self.node), "this node's Lease is not renewed");
                    }
                    self.terms.renewal / 3
                }
            };
            if timeout(jittered(wait), self.says.change()).await.is_ok() {
                sleep(GROUP).await;
            }
        }
    }

    /// Says that the node owns nothing any more, if this process speaks for it.
    pub(super) async fn stop(&mut self) {
        if self.says.state.borrow().is_none() {
            return;
        }
        for _ in 0..2 {
            match self.renew(AgentState::Stopped).await {
                Err(error) if error.remedy() == Remedy::LookAgain => {}
                Err(error) => return warn!(%error, "the cluster is not told that this node stops"),
                Ok(_) => return debug!("the cluster is told that this node stops"),
            }
        }
    }

    /// Writes the Lease, or finds that it is another's; says when to come back.
    async fn renew(&mut self, state: AgentState) -> Result<Duration, StatusError> {
        let name = names::node_lease(&self.node);
        if self.version.is_none() {
            let found = ask(self.terms.patience, self.leases.get_opt(&name)).await?;
            let said = found.as_ref().and_then(NodeLease::read);
            if !self.claim.may_write(said.as_ref(), state, Instant::now()) {
                return Ok(self.terms.renewal);
            }
            self.version = found.and_then(|lease| lease.metadata.resource_version);
        }
        let lease = self.lease(state);
        let params = PostParams::default();
        // Whatever becomes of it, the version is used up.
        let written = match self.version.take() {
            Some(version) => {
                let lease = lease.write(Some(version));
                let request = self.leases.replace(&name, &params, &lease);
                write(Written::Lease, &self.metrics, self.terms.patience, request).await
            }
            None => {
                let lease = lease.write(None);
                let request = self.leases.create(&params, &lease);
                write(Written::Lease, &self.metrics, self.terms.patience, request).await
            }
        };
        match written {
            Ok(written) => self.version = written.metadata.resource_version,
            // Somebody deleted it.
            Err(error) if error.remedy() == Remedy::Missing => return Ok(Duration::ZERO),
            Err(error) => return Err(error),
        }
        self.claim.wrote();
        Ok(self.terms.renewal)
    }

    fn lease(&mut self, state: AgentState) -> NodeLease {
        let Loaded { membership, rows, .. } = *self.says.loaded.borrow_and_update();
        NodeLease {
            node: self.node.clone(),
            holder: self.identity.clone(),
            renewal: Some(Timestamp::now()),
            duration: self.terms.period,
            state,
            acknowledged: membership,
            rows: rows.filter(|_| membership > 0),
            addresses: self.says.addresses(&self.node),
        }
    }
}

/// Whose the Lease is. Pure.
#[derive(Clone, Debug)]
struct Claim {
    identity: String,
    /// Whether this process ever wrote it.
    has_spoken: bool,
    /// Another's Lease, and since when it was not seen to change.
    other: Option<(NodeLease, Instant)>,
}

impl Claim {
    fn new(identity: &str) -> Self {
        Self { identity: identity.to_owned(), has_spoken: false, other: None }
    }

    fn wrote(&mut self) {
        self.has_spoken = true;
        self.other = None;
    }

    /// Whether this process may write the Lease that was found.
    fn may_write(&mut self, found: Option<&NodeLease>, state: AgentState, now: Instant) -> bool {
        let Some(found) = found.filter(|found| found.holder != self.identity) else { return true };
        if found.state == AgentState::Stopped || found.holder.is_empty() {
            return true;
        }
        let since = match self.other.take().filter(|(before, _)| before == found) {
            Some((_, since)) => since,
            None => {
                info!(node = found.node, holder = found.holder, "another process speaks for this node");
                now
            }
        };
        self.other = Some((found.clone(), since));
        let is_over = now >= since + found.duration;
        let supersedes = !self.has_spoken && [AgentState::Ready, AgentState::Draining].contains(&state);
        // What stops has no say over another's Lease.
        state != AgentState::Stopped && (is_over || supersedes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(holder: &str, state: AgentState, renewal: i64) -> NodeLease {
        NodeLease {
            node: "edge-1".to_owned(),
            holder: holder.to_owned(),
            renewal: Timestamp::from_second(renewal).ok(),
            duration: Duration::from_secs(12),
            state,
            acknowledged: 0,
            rows: None,
            addresses: Vec::new(),
        }
    }

    use AgentState::{Draining, Ready, Starting, Stopped};

    #[test]
    fn a_quick_restart_leaves_the_lease_alone_until_it_is_ready() {
        let (now, mut new) = (Instant::now(), Claim::new("new"));
        let old = said("old", Ready, 1);
        assert!(!new.may_write(Some(&old), Starting, now));
        assert!(!new.may_write(Some(&old), Starting, now + Duration::from_secs(11)));
        assert!(new.clone().may_write(Some(&old), Ready, now + Duration::from_secs(11)));
        assert!(new.may_write(Some(&old), Starting, now + Duration::from_secs(12)));
    }

    #[test]
    fn what_is_nobodys_is_written() {
        let (now, mut new) = (Instant::now(), Claim::new("new"));
        for found in
            [None, Some(said("old", Stopped, 1)), Some(said("", Ready, 1)), Some(said("new", Ready, 1))]
        {
            assert!(new.may_write(found.as_ref(), Starting, now), "{found:?}");
        }
    }

    #[test]
    fn who_was_superseded_comes_back_when_the_successor_is_silent() {
        let (now, mut old) = (Instant::now(), Claim::new("old"));
        let at = |second| now + Duration::from_secs(second);
        old.wrote();
        assert!(!old.may_write(Some(&said("new", Ready, 1)), Ready, at(0)));
        assert!(!old.may_write(Some(&said("new", Ready, 4)), Draining, at(9)));
        assert!(!old.may_write(Some(&said("new", Ready, 4)), Stopped, at(60)), "it only ends");
        assert!(!old.may_write(Some(&said("new", Ready, 4)), Ready, at(20)));
        assert!(old.may_write(Some(&said("new", Ready, 4)), Ready, at(21)));
    }
}
