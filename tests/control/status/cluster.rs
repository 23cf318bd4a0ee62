//! A control plane with our kinds, and agents in this process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use lb_agent::api::EdgeMembership;
use lb_agent::metrics::StatusMetrics;
use lb_agent::model::{EdgeNode, FlowKeys, KeyPrints, Loaded, Report};
use lb_agent::status::{self, AgentState, Inputs, Options, Timing};
use lb_tests::cluster::{ControlPlane, Fault, Login};
use prometheus_client::registry::Registry;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::follower::follow;
use crate::kinds::create_kinds;

pub(super) const NAMESPACE: &str = "edgelb-system";

/// Long enough for a machine that is busy with other things.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The fingerprint of the flow key by which all agents go.
pub(super) const FLOW_KEY: u32 = 0xab;

/// As in a cluster, but in more of a hurry.
pub(super) const TIMING: Timing = Timing {
    agent_period: Duration::from_secs(3),
    agent_renewal: Duration::from_millis(600),
    leader_period: Duration::from_secs(3),
    leader_retry: Duration::from_millis(400),
    drain_deadline: Duration::from_secs(3600),
    patience: Duration::from_secs(1),
    writes_per_second: 1000,
    events_per_second: 100,
};

/// A control plane with our kinds and our namespace, and what the agents of a test share.
pub(super) struct Cluster {
    pub(super) control_plane: ControlPlane,
    pub(super) client: Client,
    pub(super) nodes: watch::Sender<Option<Vec<EdgeNode>>>,
    pub(super) report: Reports,
}

/// The report of all agents' sources, which the test changes while they read it.
#[derive(Clone)]
pub(super) struct Reports {
    newest: Arc<Mutex<Option<Report>>>,
    revision: watch::Sender<u64>,
}

impl Reports {
    fn read(&self) -> Option<Report> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn publish(&self, report: Report) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
        self.revision.send_modify(|revision| *revision += 1);
    }
}

impl Cluster {
    /// With edge nodes of these names, at 198.51.100.1 and on.
    pub(super) async fn start(nodes: &[&str]) -> Result<Self> {
        // Shown where a test fails.
        let filter = tracing_subscriber::EnvFilter::new("lb_agent=debug");
        _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let control_plane = ControlPlane::start()?;
        let client = control_plane.client().await?;
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(NAMESPACE.to_owned());
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
        create_kinds(&client).await?;
        let node = |(at, name): (usize, &&str)| EdgeNode {
            name: (*name).to_owned(),
            uid: format!("uid-{name}"),
            addresses: vec![[198, 51, 100, at as u8 + 1].into()],
            weight: EdgeNode::WEIGHT,
            drain: None,
        };
        let nodes = nodes.iter().enumerate().map(node).collect();
        Ok(Self {
            control_plane,
            client,
            nodes: watch::Sender::new(Some(nodes)),
            report: Reports { newest: Arc::default(), revision: watch::Sender::new(0) },
        })
    }

    /// Changes the edge nodes that all agents see.
    pub(super) fn change_nodes(&self, change: impl FnOnce(&mut Vec<EdgeNode>)) {
        self.nodes.send_modify(|nodes| change(nodes.get_or_insert_default()));
    }

    /// An agent that reaches the API server through a proxy of its own.
    pub(super) async fn agent(&self, node: &str) -> Result<Agent> {
        self.agent_that_says(node, Some(AgentState::Ready)).await
    }

    /// As `agent`, in this state at first.
    pub(super) async fn agent_that_says(&self, node: &str, state: Option<AgentState>) -> Result<Agent> {
        let fault = Fault::before(&self.control_plane)?;
        let login = Login::Token(self.control_plane.admin_token()?);
        // A node's name may be too long for a file's.
        let name: String = node.chars().take(20).collect();
        let kubeconfig = self.control_plane.write_kubeconfig(&name, &fault.url(), &login)?;
        let file = Kubeconfig::read_from(kubeconfig)?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        Ok(Agent::start(self, node, state, Client::try_from(config)?, fault))
    }

    /// The holder of the leader's Lease, without what tells its processes apart; empty if there is none.
    pub(super) async fn leader(&self) -> Result<String> {
        let lease = self.leases().get_opt("edgelb-leader").await?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
        Ok(holder.split('_').next().unwrap_or_default().to_owned())
    }

    pub(super) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(super) async fn history(&self) -> Result<Option<EdgeMembership>> {
        Ok(Api::all(self.client.clone()).get_opt(EdgeMembership::NAME).await?)
    }

    /// Generations as `2! a1 b2*`: `?` is learned, `!` is switched to, `*` drains.
    pub(super) async fn generations(&self) -> Result<Vec<String>> {
        use lb_agent::api::MemberState;
        let history = self.history().await?.unwrap_or_default();
        let generations = history.spec.generations.iter().map(|generation| {
            let mark = ["?", "!", ""][generation.step as usize];
            let members = generation.members.iter().map(|member| {
                let mark = if member.state == MemberState::Draining { "*" } else { "" };
                format!(" {}{}{mark}", member.name, member.id)
            });
            format!("{}{mark}{}", generation.number, members.collect::<String>())
        });
        Ok(generations.collect())
    }

    /// Waits until the history has one settled generation with these members.
    pub(super) async fn settled(&self, members: &[&str]) -> Result<u64> {
        let start = Instant::now();
        loop {
            let history = self.history().await?.unwrap_or_default();
            if let [generation] = history.spec.generations.as_slice() {
                let names: Vec<_> = generation.members.iter().map(|member| member.name.as_str()).collect();
                if names == members && generation.step == lb_agent::api::MembershipStep::Settled {
                    return Ok(generation.number);
                }
            }
            let found = self.generations().await?;
            ensure!(start.elapsed() < PATIENCE, "{found:?}, not {members:?} in one settled generation");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until one of these leads; says which.
    pub(super) async fn led_by(&self, any_of: &[&str]) -> Result<String> {
        let start = Instant::now();
        loop {
            let leader = self.leader().await.unwrap_or_default();
            if any_of.contains(&leader.as_str()) {
                return Ok(leader);
            }
            ensure!(start.elapsed() < PATIENCE, "{leader:?} leads, none of {any_of:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// An agent's `status` stage, and what the other stages tell it.
pub(super) struct Agent {
    pub(super) node: String,
    pub(super) fault: Fault,
    pub(super) state: watch::Sender<Option<AgentState>>,
    pub(super) loaded: watch::Sender<Loaded>,
    pub(super) keys: watch::Sender<FlowKeys>,
    pub(super) registry: Registry,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
    follower: JoinHandle<()>,
}

impl Agent {
    fn start(cluster: &Cluster, node: &str, state: Option<AgentState>, client: Client, fault: Fault) -> Self {
        let state = watch::Sender::new(state);
        let loaded = watch::Sender::new(Loaded::default());
        let report = cluster.report.clone();
        let changed = report.revision.subscribe();
        let prints = KeyPrints { in_force: FLOW_KEY, other: None };
        let keys = FlowKeys { keys: Some(prints), given: Some(FLOW_KEY), ..FlowKeys::default() };
        let keys = watch::Sender::new(keys);
        let inputs = Inputs {
            state: state.subscribe(),
            loaded: Some(loaded.subscribe()),
            keys: keys.subscribe(),
            edge_nodes: cluster.nodes.subscribe(),
            report: Box::new(move || Box::pin(std::future::ready(report.read()))),
            changed,
        };
        let options = Options { namespace: NAMESPACE.to_owned(), node: node.to_owned(), timing: TIMING };
        let mut registry = Registry::default();
        let metrics = StatusMetrics::new(&mut registry);
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(status::run(client, options, inputs, metrics, async {
            _ = stopped.await;
        }));
        let follower = tokio::spawn(follow(cluster.client.clone(), loaded.clone(), keys.clone()));
        let (node, stop) = (node.to_owned(), Some(stop));
        Self { node, fault, state, loaded, keys, registry, stop, running, follower }
    }

    /// Has it stop in order, and waits.
    pub(super) async fn stop(mut self) -> Result<()> {
        self.follower.abort();
        _ = self.stop.take().map(|stop| stop.send(()));
        tokio::time::timeout(PATIENCE, &mut self.running).await.context("it does not stop")??;
        Ok(())
    }

    /// Ends it without a word.
    pub(super) fn kill(self) {
        self.running.abort();
        self.follower.abort();
    }

    /// No longer has what the history says in its kernel.
    pub(super) async fn freeze(&mut self) {
        self.follower.abort();
        // It may be at work on another processor: what is said for it from now on is to stay.
        let _ = (&mut self.follower).await;
    }

    /// Its Secret or its file has this key from now on.
    pub(super) fn give(&self, key: u32) {
        self.keys.send_modify(|keys| keys.given = Some(key));
    }

    /// Has it again.
    pub(super) fn thaw(&mut self, cluster: &Cluster) {
        self.follower = tokio::spawn(follow(cluster.client.clone(), self.loaded.clone(), self.keys.clone()));
    }

    /// What a metric says, by the beginning of its line.
    pub(super) fn metric(&self, line: &str) -> Result<u64> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        let found =
            text.lines().find_map(|found| found.strip_prefix(line)).with_context(|| line.to_owned())?;
        Ok(found.trim().parse()?)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.running.abort();
        self.follower.abort();
    }
}
