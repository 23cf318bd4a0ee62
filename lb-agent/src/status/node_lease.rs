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
use crate::model::{EdgeNode, FlowKeys, Loaded, Mark};

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
    pub(super) keys: watch::Receiver<FlowKeys>,
    /// For this node's own addresses.
    pub(super) edge_nodes: watch::Receiver<Option<Vec<EdgeNode>>>,
}

impl Says {
    fn addresses(&self, node: &str) -> Vec<IpAddr> {
        let nodes = self.edge_nodes.borrow();
        let own = nodes.iter().flatten().find(|found| found.name == node);
        own.map(|own| own.addresses.clone()).unwrap_or_default()
    }

    /// What is worth a write before its time. How many connections there are is not: the next renewal tells, but for the
    /// end of the last one, which somebody waits for.
    fn words(&mut self) -> Words {
        let Loaded { membership, rows, needed, stood_in, held, .. } = *self.loaded.borrow_and_update();
        let state = *self.state.borrow_and_update();
        let is_drained = state == Some(AgentState::Draining) && held == 0;
        let keys = keys(&self.keys.borrow_and_update());
        Words { state, membership, rows, needed, stood_in, is_drained, keys }
    }

    /// Waits until there is something else to say. Most snapshots change neither members nor rows: endpoints come and
    /// go many times a second, and a Lease that told of each would be the cluster's most written object.
    async fn news(&mut self, said: Words) {
        while self.words() == said {
            // A sender that is gone says nothing new.
            tokio::select! {
                Ok(()) = self.state.changed() => {}
                Ok(()) = self.loaded.changed() => {}
                Ok(()) = self.keys.changed() => {}
                else => std::future::pending().await,
            }
        }
    }
}

/// The flow key in force, the one that was given, and one that is not believed in.
fn keys(keys: &FlowKeys) -> [Option<u32>; 3] {
    [keys.in_force(), keys.given, keys.doubted()]
}

/// What others wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Words {
    state: Option<AgentState>,
    membership: Mark,
    rows: Option<u64>,
    needed: Option<u64>,
    stood_in: u64,
    is_drained: bool,
    keys: [Option<u32>; 3],
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
            let words = self.says.words();
            let Some(state) = words.state else {
                self.claim.yielded();
                self.says.news(words).await;
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
            if timeout(jittered(wait), self.says.news(words)).await.is_ok() {
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
        let was_there = self.version.is_some();
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
            // Somebody deleted it. Where it cannot be made either, the namespace is missing.
            Err(error) if was_there && error.remedy() == Remedy::Missing => return Ok(Duration::ZERO),
            Err(error) => return Err(error),
        }
        self.claim.wrote();
        Ok(self.terms.renewal)
    }

    fn lease(&mut self, state: AgentState) -> NodeLease {
        let Loaded { membership, rows, needed, stood_in, held, oldest, .. } =
            *self.says.loaded.borrow_and_update();
        let [key, given_key, doubted_key] = keys(&self.says.keys.borrow_and_update());
        NodeLease {
            node: self.node.clone(),
            holder: self.identity.clone(),
            renewal: Some(Timestamp::now()),
            duration: self.terms.period,
            state,
            acknowledged: membership,
            rows: rows.filter(|_| membership.number > 0),
            needed,
            stood_in,
            held,
            oldest: oldest.map(|oldest| Duration::from_secs(oldest.as_secs())),
            key,
            given_key,
            doubted_key,
            addresses: self.says.addresses(&self.node),
        }
    }
}

/// Whose the Lease is. Pure.
#[derive(Clone, Debug)]
struct Claim {
    identity: String,
    /// Whether this process wrote it since it last got the packet path.
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

    /// Another process of this node has its packet path. Should this one get it back, that one is gone, whatever it
    /// said last: this one speaks at once, before the leader misses the other.
    fn yielded(&mut self) {
        self.has_spoken = false;
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
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use http_body_util::BodyExt;
    use kube::Client;
    use kube::client::Body;
    use prometheus_client::registry::Registry;

    use super::*;

    fn said(holder: &str, state: AgentState, renewal: i64) -> NodeLease {
        NodeLease {
            holder: holder.to_owned(),
            renewal: Timestamp::from_second(renewal).ok(),
            ..NodeLease::saying("edge-1", Duration::from_secs(12), state)
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

    #[test]
    fn who_gets_the_packet_path_back_speaks_at_once() {
        let (now, mut old) = (Instant::now(), Claim::new("old"));
        old.wrote();
        old.yielded();
        assert!(!old.may_write(Some(&said("new", Ready, 1)), Starting, now));
        assert!(old.may_write(Some(&said("new", Ready, 1)), Ready, now));
    }

    /// Counts requests; holds one Lease, or has no such namespace.
    fn keeper(has_namespace: bool, says: Says) -> (Keeper, Arc<AtomicU32>) {
        let writes = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&writes);
        let held = Arc::new(Mutex::new(None::<Vec<u8>>));
        let answer = move |request: Request<Body>| {
            let (counted, held) = (Arc::clone(&counted), Arc::clone(&held));
            async move {
                let is_write = request.method() != Method::GET;
                counted.fetch_add(u32::from(is_write), Ordering::Relaxed);
                let sent = request.into_body().collect().await.expect("it is in memory").to_bytes();
                let mut held = held.lock().expect("no panic");
                if has_namespace && is_write {
                    *held = Some(sent.to_vec());
                }
                let found = held.clone();
                let status = if found.is_some() { 200 } else { 404 };
                let gone = || {
                    br#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}"#.to_vec()
                };
                let body = Body::from(found.unwrap_or_else(gone));
                Response::builder().status(status).body(body)
            }
        };
        let client = Client::new(tower::service_fn(answer), "edgelb-system");
        let terms = Terms {
            period: Duration::from_secs(12),
            renewal: Duration::from_secs(3),
            patience: Duration::from_secs(5),
        };
        let metrics = StatusMetrics::new(&mut Registry::default());
        let leases = Api::namespaced(client, "edgelb-system");
        (Keeper::new(leases, "edge-1", "edge-1_7", terms, says, metrics), writes)
    }

    fn loaded_of(generation: u64, number: u64) -> Loaded {
        let membership = Mark { number, ..Mark::default() };
        Loaded { generation, membership, rows: Some(1), ..Loaded::default() }
    }

    fn says() -> (watch::Sender<Loaded>, Says) {
        let (loaded, seen) = watch::channel(loaded_of(1, 1));
        let state = watch::Sender::new(Some(Ready)).subscribe();
        let keys = watch::Sender::default().subscribe();
        (loaded, Says { state, loaded: seen, keys, edge_nodes: watch::Sender::new(None).subscribe() })
    }

    #[tokio::test]
    async fn snapshots_that_change_no_rows_are_not_told() {
        let (loaded, says) = says();
        let (mut keeper, writes) = keeper(true, says);
        let churn = async {
            for generation in 2..20 {
                loaded.send_replace(loaded_of(generation, 1));
                sleep(GROUP * 2).await;
            }
        };
        assert!(
            timeout(Duration::from_secs(10), async {
                tokio::select! { never = keeper.run() => match never {}, () = churn => {} }
            })
            .await
            .is_ok()
        );
        assert_eq!(writes.load(Ordering::Relaxed), 1);
        loaded.send_replace(loaded_of(21, 2));
        _ = timeout(GROUP * 10, keeper.run()).await;
        assert_eq!(writes.load(Ordering::Relaxed), 2, "a generation of the history is acknowledged at once");
    }

    #[tokio::test]
    async fn without_its_namespace_the_server_is_left_alone_for_a_while() {
        let (_loaded, says) = says();
        let (mut keeper, writes) = keeper(false, says);
        _ = timeout(GROUP * 10, keeper.run()).await;
        assert_eq!(writes.load(Ordering::Relaxed), 1);
    }
}
