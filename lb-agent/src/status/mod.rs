//! All that is written to the cluster, and nothing else writes to it. Knows `model` and `api`; what it is to say
//! comes in from `app`.
//!
//! Each agent keeps its node's Lease. One of them, the holder of the leader's Lease, does the rest: the history of
//! memberships, addresses of Services and Ingresses, Events, the Secret of the flow hash.

mod addresses;
mod agents;
mod clear;
mod duty;
mod election;
mod error;
mod events;
mod history;
mod keys;
mod lease;
mod membership;
#[cfg(test)]
pub(crate) use self::membership::property;
mod names;
mod node_lease;
mod office;
mod pace;
mod progress;
mod queue;
mod reason;
mod reports;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use futures_util::future::BoxFuture;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::timeout;

pub use self::clear::{Cleared, clear};
use self::election::Election;
pub use self::error::StatusError;
pub use self::lease::AgentState;
use self::node_lease::{Keeper, Says};
use self::office::Office;
use crate::metrics::StatusMetrics;
use crate::model::{EdgeNode, FlowKeys, Loaded, ObjectRef, Problem, Report};

/// Who writes, and how fast.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Where the Leases are and the Secret of the flow hash is.
    pub namespace: String,
    /// The name of this node's Node object.
    pub node: String,
    /// How long things last.
    pub timing: Timing,
}

/// How long things last. The defaults are for clusters; tests are in more of a hurry. Leases count whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// An agent that did not renew its Lease for as long is gone.
    pub agent_period: Duration,
    /// An agent renews its Lease every so often.
    pub agent_renewal: Duration,
    /// Others wait for as long when the leader does not renew. It stops by itself after two thirds of it.
    pub leader_period: Duration,
    /// The leader renews, and others look at it, every so often.
    pub leader_retry: Duration,
    /// Flows hold up a change of the membership for as long: then the generation that they need is retired, and a node
    /// that drains counts as drained.
    pub drain_deadline: Duration,
    /// The API server has as long to answer.
    pub patience: Duration,
    /// Requests a second for addresses of Services and Ingresses.
    pub writes_per_second: u32,
    /// Requests a second for Events.
    pub events_per_second: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            agent_period: Duration::from_secs(12),
            agent_renewal: Duration::from_secs(3),
            leader_period: Duration::from_secs(15),
            leader_retry: Duration::from_secs(2),
            drain_deadline: Duration::from_secs(3600),
            patience: Duration::from_secs(5),
            writes_per_second: 200,
            events_per_second: 20,
        }
    }
}

/// Asks the source for a report.
pub type AskReport = Box<dyn Fn() -> BoxFuture<'static, Option<Report>> + Send + Sync>;

/// What the agent's other stages tell.
pub struct Inputs {
    /// What this agent is up to; `None` while another agent speaks for this node. `Stopped` is not for it to say: that
    /// follows from `stop`. `Draining` is the word of whoever runs the agent: what its Node object says of that, the
    /// leader reads by itself.
    pub state: watch::Receiver<Option<AgentState>>,
    /// What is in this node's kernel; `None` without a packet path: then the node is no edge node and has no Lease.
    pub loaded: Option<watch::Receiver<Loaded>>,
    /// The flow key by which this node goes, and one that it refuses.
    pub keys: watch::Receiver<FlowKeys>,
    /// The edge nodes; `None` before the source has read them all. The source follows Nodes in any case, so this costs
    /// no connection.
    pub edge_nodes: watch::Receiver<Option<Vec<EdgeNode>>>,
    /// What owners of objects should hear; `None` before the source has read them all. Asked by the leader alone.
    pub report: AskReport,
    /// Changes when the report may have.
    pub changed: watch::Receiver<u64>,
}

/// Problems of Nodes that only the leader sees.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Told {
    problems: Vec<Problem>,
    uids: BTreeMap<ObjectRef, String>,
}

/// Writes to the cluster until `stop` is ready, then says that this node stops and gives up the office, in a few
/// seconds at most. Addresses that were written stay.
///
/// Failures are logged, counted and tried again: the data path does not depend on any of it.
pub async fn run(
    client: Client,
    options: Options,
    inputs: Inputs,
    metrics: StatusMetrics,
    stop: impl Future<Output = ()>,
) {
    let identity = format!("{}_{:016x}", options.node, fastrand::u64(..));
    let leases: Api<Lease> = Api::namespaced(client.clone(), &options.namespace);
    let (until, is_leader) = watch::channel(None);
    let terms = options.timing.election();
    let mut election = Election::new(leases.clone(), identity.clone(), terms, until, metrics.clone());
    let mut keeper = inputs.loaded.clone().map(|loaded| {
        let (state, keys) = (inputs.state.clone(), inputs.keys.clone());
        let says = Says { state, loaded, keys, edge_nodes: inputs.edge_nodes.clone() };
        Keeper::new(leases.clone(), &options.node, &identity, options.timing.agent(), says, metrics.clone())
    });
    let office = Office {
        client,
        options: &options,
        inputs: &inputs,
        until: is_leader,
        told: watch::Sender::new(Told::default()),
        members: watch::Sender::new(BTreeSet::new()),
        metrics,
    };
    let patience = options.timing.patience;

    let work = office.run();
    tokio::pin!(work);
    // Who cannot read the cluster (a right is missing, or it goes on with a stored state) would hold the office and do
    // nothing in it.
    let mut edge_nodes = inputs.edge_nodes.clone();
    let candidacy = async {
        let is_read = edge_nodes.wait_for(Option::is_some).await.is_ok();
        if is_read { election.run().await } else { std::future::pending().await }
    };
    tokio::select! {
        () = stop => {}
        never = async { tokio::join!(keep(keeper.as_mut()), candidacy, &mut work).0 } => match never {},
    }
    // The office stays open: a leader takes its own node out before it goes.
    let leave = async {
        if let Some(keeper) = &mut keeper {
            keeper.stop().await;
            office.wait_until_out(&options.node).await;
        }
    };
    tokio::select! {
        _ = timeout(patience, leave) => {}
        never = &mut work => match never {},
    }
    election.release().await;
}

impl Timing {
    fn election(&self) -> election::Terms {
        let Self { leader_period: period, leader_retry: retry, patience, .. } = *self;
        election::Terms { period, retry, patience }
    }

    fn agent(&self) -> node_lease::Terms {
        let Self { agent_period: period, agent_renewal: renewal, patience, .. } = *self;
        node_lease::Terms { period, renewal, patience }
    }
}

async fn keep(keeper: Option<&mut Keeper>) -> Infallible {
    match keeper {
        Some(keeper) => keeper.run().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use prometheus_client::registry::Registry;

    use super::*;

    #[tokio::test]
    async fn who_has_not_read_the_cluster_does_not_run_for_office() {
        let (tell, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let answer = move |request: Request<Body>| {
            _ = tell.send(request.uri().path().to_owned());
            let status = br#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":503}"#;
            std::future::ready(Response::builder().status(503).body(Body::from(status.to_vec())))
        };
        let (edge_nodes, read) = watch::channel(None);
        let inputs = Inputs {
            state: watch::Sender::new(Some(AgentState::Ready)).subscribe(),
            loaded: None,
            keys: watch::Sender::default().subscribe(),
            edge_nodes: read,
            report: Box::new(|| Box::pin(std::future::ready(None))),
            changed: watch::Sender::new(0).subscribe(),
        };
        let options = Options {
            namespace: "edgelb-system".to_owned(),
            node: "edge-1".to_owned(),
            timing: Timing::default(),
        };
        let metrics = StatusMetrics::new(&mut Registry::default());
        let client = Client::new(tower::service_fn(answer), "default");
        let test = async {
            timeout(Duration::from_millis(300), asked.recv()).await.expect_err("it has not read the nodes");
            edge_nodes.send_replace(Some(Vec::new()));
            let path = timeout(Duration::from_secs(10), asked.recv()).await.expect("it asks now");
            assert!(path.is_some_and(|path| path.ends_with("/leases/edgelb-leader")));
        };
        tokio::select! {
            () = run(client, options, inputs, metrics, std::future::pending()) => {}
            () = test => {}
        }
    }
}
