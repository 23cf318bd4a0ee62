//! An agent at its normal work, with its account's own token: nothing is refused.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use lb_agent::metrics::StatusMetrics;
use lb_agent::model::{Loaded, Mark, Step};
use lb_agent::status::{self, AgentState, Inputs, Options, Timing};
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::watch;

use super::{Profile, ship};
use crate::agent::process::Agent;
use crate::agent::until;
use crate::shipped::{DEMO, NAMESPACE, Shipped, repository};

const HOST: &str = "shop.example.org";

/// The node with a packet path.
const MEMBER: &str = "edge-2";

/// All that an agent writes.
const WRITES: [(&str, &str); 8] = [
    ("create", "edgememberships"),
    ("create", "events"),
    ("create", "leases"),
    ("patch", "ingresses/status"),
    ("patch", "services/status"),
    ("update", "edgememberships"),
    ("update", "leases"),
    ("update", "secrets"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_refused_nothing_with_profile_cluster() -> Result<()> {
    works(Profile::Cluster).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_refused_nothing_with_profile_named() -> Result<()> {
    works(Profile::Named).await
}

async fn works(profile: Profile) -> Result<()> {
    let shipped = tokio::task::block_in_place(|| ship(profile))?;
    edge_node(&shipped)?;
    let vips = "edgelb.dev/vips=203.0.113.10,2001:db8:53::10";
    shipped.kubectl(&["annotate", "service", "edgelb", "--namespace", NAMESPACE, vips])?;
    let agent = agent(&shipped, profile)?;
    let lease = ["lease/edgelb-leader", "--namespace", NAMESPACE];
    says(&shipped, lease, "{.spec.holderIdentity}", "edge-1_").with_context(|| agent.log())?;
    let loaded = watch::Sender::new(Loaded::default());
    let member = tokio::spawn(member_status(&shipped, loaded.clone()).await?);

    // The app itself is not needed; its Ingress comes before its certificate, so there is something to say.
    shipped.apply("--kustomize", &repository().join("deploy/overlays/demo/app"))?;
    says(&shipped, ["events", "--namespace", DEMO], "{.items[*].reason}", "CertificateUnavailable")?;
    shipped.control_plane.create_tls_secret(DEMO, "shop-tls", HOST)?;
    until("the certificate", || agent.dump().is_ok_and(|dump| has_certificate(&dump)))
        .with_context(|| agent.log())?;
    let (addresses, system) = ("{.status.loadBalancer.ingress[*].ip}", NAMESPACE);
    says(&shipped, ["ingress/shop", "--namespace", DEMO], addresses, "203.0.113.10")?;
    says(&shipped, ["service/edgelb", "--namespace", system], addresses, "203.0.113.10")?;
    let history = ["edgemembership/edgelb", "--namespace", system];
    says(&shipped, history, "{.spec.generations[*].members[*].name}", MEMBER).with_context(|| agent.log())?;
    let membership = Mark { number: 1, step: Step::Switch, oldest: 1 };
    loaded.send_replace(Loaded { generation: 1, membership, rows: Some(7), ..Loaded::default() });
    says(&shipped, history, "{.status.step}", "Settled")?;
    // It goes in order, too; then another one finds all of it as it is.
    agent.stop()?;
    self::agent(&shipped, profile)?.stop()?;
    member.abort();
    nothing_was_refused(&shipped)
}

/// A plain proxy, which owns no flows; the first one leads, as there is no other.
fn agent(shipped: &Shipped, profile: Profile) -> Result<Agent> {
    let flags = ["--namespace", NAMESPACE, "--secrets", &profile.to_string()];
    let agent = Agent::start(&shipped.kubeconfig("edgelb")?, shipped.folder.path(), &flags)?;
    agent.await_ready()?;
    Ok(agent)
}

/// What an agent with a packet path writes besides.
async fn member_status(
    shipped: &Shipped,
    loaded: watch::Sender<Loaded>,
) -> Result<impl Future<Output = ()> + Send + 'static> {
    let file = Kubeconfig::read_from(shipped.kubeconfig("edgelb")?)?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let state = watch::Sender::new(Some(AgentState::Ready));
    let changed = watch::Sender::new(0);
    let edge_nodes = watch::Sender::new(None);
    let inputs = Inputs {
        state: state.subscribe(),
        loaded: Some(loaded.subscribe()),
        keys: watch::Sender::default().subscribe(),
        edge_nodes: edge_nodes.subscribe(),
        report: Box::new(|| Box::pin(std::future::ready(None))),
        changed: changed.subscribe(),
    };
    let timing = Timing::default();
    let options = Options { namespace: NAMESPACE.to_owned(), node: MEMBER.to_owned(), timing };
    let metrics = StatusMetrics::new(&mut Registry::default());
    Ok(async move {
        let _senders = (state, changed, edge_nodes);
        status::run(client, options, inputs, metrics, std::future::pending()).await;
    })
}

/// Waits until a part of an object has this in it.
fn says(shipped: &Shipped, object: [&str; 3], path: &str, expected: &str) -> Result<()> {
    let output = format!("--output=jsonpath={path}");
    let arguments = [&["get"], &object[..], &[output.as_str()]].concat();
    until(&format!("{} of {} has {expected}", path, object[0]), || {
        shipped.kubectl(&arguments).is_ok_and(|said| said.contains(expected))
    })
}

/// By the server's own account.
fn nothing_was_refused(shipped: &Shipped) -> Result<()> {
    let account = format!("system:serviceaccount:{NAMESPACE}:edgelb");
    let requests = shipped.control_plane.writes()?;
    let ours: Vec<_> = requests.iter().filter(|request| request.user == account).collect();
    let refused: Vec<_> = ours.iter().filter(|request| [401, 403].contains(&request.code)).collect();
    ensure!(refused.is_empty(), "{refused:?}");
    let reads = ["get", "list", "watch"];
    let done = ours.iter().filter(|request| !reads.contains(&request.verb.as_str()) && request.code < 300);
    let written: BTreeSet<_> =
        done.map(|request| (request.verb.as_str(), request.resource.as_str())).collect();
    assert_eq!(written, BTreeSet::from(WRITES));
    ensure!(
        ours.iter().any(|request| request.verb == "list" || request.verb == "watch"),
        "no reads in the log"
    );
    Ok(())
}

fn has_certificate(dump: &Value) -> bool {
    dump["snapshot"]["certificates"].as_array().is_some_and(|listed| !listed.is_empty())
}

/// As a kubelet makes it.
fn edge_node(shipped: &Shipped) -> Result<()> {
    let node = shipped.folder.path().join("node.yaml");
    let text = "{apiVersion: v1, kind: Node, metadata: {name: edge-2, labels: {edgelb.dev/edge: 'true'}}}";
    std::fs::write(&node, text)?;
    shipped.apply("--filename", &node)?;
    let address = r#"{"status": {"addresses": [{"type": "InternalIP", "address": "198.51.100.12"}]}}"#;
    shipped.kubectl(&["patch", "node", MEMBER, "--subresource=status", "--patch", address]).map(drop)
}
