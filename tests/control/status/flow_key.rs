//! Another flow key, in the history and in what is told of it.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use lb_agent::api::MembershipStep;
use lb_agent::model::KeyPrints;
use lb_agent::status::AgentState;
use tokio::time::sleep;

use super::cluster::{Agent, Cluster, FLOW_KEY, PATIENCE};
use super::events::{describe, there_are};

const NAMES: [&str; 3] = ["edge-1", "edge-2", "edge-3"];
const OTHER: u32 = 0xcd;

/// With Nodes of these names, at which Events are told.
async fn start(names: &[&str]) -> Result<Cluster> {
    let cluster = Cluster::start(names).await?;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    for (at, name) in names.iter().enumerate() {
        let mut node = Node::default();
        node.metadata.name = Some((*name).to_owned());
        let uid = nodes.create(&PostParams::default(), &node).await?.uid().context("it has a uid")?;
        cluster.change_nodes(|nodes| nodes[at].uid = uid);
    }
    Ok(cluster)
}

async fn agents(cluster: &Cluster, names: &[&str]) -> Result<Vec<Agent>> {
    let mut agents = Vec::new();
    for name in names {
        agents.push(cluster.agent(name).await?);
    }
    cluster.settled(names).await?;
    Ok(agents)
}

/// Waits until the history has these steps and keys, the oldest first.
async fn there_is(cluster: &Cluster, expected: &[(MembershipStep, u32)]) -> Result<u64> {
    let start = Instant::now();
    loop {
        let generations = cluster.history().await?.unwrap_or_default().spec.generations;
        let keys = generations.iter().map(|found| (found.step, found.flow_key.map(|key| key.0)));
        let is_it = keys.eq(expected.iter().map(|&(step, key)| (step, Some(key))));
        if let (true, Some(oldest)) = (is_it, generations.first()) {
            return Ok(oldest.number);
        }
        ensure!(start.elapsed() < PATIENCE, "not {expected:?}: {generations:#?}");
        sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Waits until this is said in the status to wait.
async fn waits(cluster: &Cluster, words: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        let status = cluster.history().await?.and_then(|history| history.status).unwrap_or_default();
        if status.waiting.iter().any(|waiting| waiting.contains(words)) {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "{words:?} is not in {:?}", status.waiting);
        sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The Secret changes: the key is learned once all were given it, then it is in force, and the former one goes when no
/// connection needs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_flow_key_goes_through_all_steps() -> Result<()> {
    use MembershipStep::{Learn, Settled};
    let cluster = start(&[&NAMES[..], &["edge-4"]].concat()).await?;
    let mut agents = agents(&cluster, &NAMES).await?;
    let first = there_is(&cluster, &[(Settled, FLOW_KEY)]).await?;
    for agent in &agents[..2] {
        agent.give(OTHER);
    }
    waits(&cluster, "flow key 000000cd waits: edge-3 was not given it").await?;
    there_is(&cluster, &[(Settled, FLOW_KEY)]).await?;

    agents[1].freeze().await;
    agents[2].give(OTHER);
    there_is(&cluster, &[(Settled, FLOW_KEY), (Learn, OTHER)]).await?;
    waits(&cluster, "flow key 000000cd takes the place of 000000ab: edge-2 has not acknowledged").await?;
    agents[0].loaded.send_modify(|loaded| (loaded.needed, loaded.held) = (Some(first), 7));
    agents[1].thaw(&cluster);
    there_is(&cluster, &[(Settled, FLOW_KEY), (Settled, OTHER)]).await?;
    for agent in &agents {
        let keys = KeyPrints { in_force: OTHER, other: Some(FLOW_KEY) };
        ensure!(agent.keys.borrow().keys == Some(keys), "{}: {:?}", agent.node, agent.keys.borrow());
    }
    waits(&cluster, &format!("edge-1 holds flows of generation {first} (7 connections in all)")).await?;
    // Who comes by now knows one of the two keys: not one that connections have.
    let late = cluster.agent_that_says("edge-4", Some(AgentState::Starting)).await?;
    let own = KeyPrints { in_force: OTHER, other: None };
    late.keys.send_modify(|keys| (keys.keys, keys.given) = (Some(own), Some(OTHER)));
    late.keys.subscribe().wait_for(|keys| keys.lacks == Some(FLOW_KEY)).await?;

    agents[0].loaded.send_modify(|loaded| (loaded.needed, loaded.held) = (None, 0));
    there_is(&cluster, &[(Settled, OTHER)]).await?;
    late.keys.subscribe().wait_for(|keys| keys.lacks.is_none()).await?;
    late.state.send_replace(Some(AgentState::Ready));
    cluster.settled(&[&NAMES[..], &["edge-4"]].concat()).await?;
    there_is(&cluster, &[(Settled, OTHER)]).await?;
    Ok(())
}

/// Who does not know what others were given is told so at its Node, and so is who knows another key alone: it waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_know_a_key_is_told() -> Result<()> {
    let cluster = start(&NAMES).await?;
    let agents = agents(&cluster, &NAMES[..2]).await?;
    agents[0].give(OTHER);
    there_are(&cluster, 1).await?;
    let text = describe(&cluster, &["node", "edge-2"])?;
    ensure!(
        text.contains("Warning FlowKeyDiffers") && text.contains("000000cd, which other nodes were given"),
        "{text}"
    );
    agents[0].give(FLOW_KEY);

    let third = cluster.agent_that_says("edge-3", Some(AgentState::Starting)).await?;
    let own = KeyPrints { in_force: OTHER, other: None };
    third.keys.send_modify(|keys| (keys.keys, keys.given) = (Some(own), Some(OTHER)));
    there_are(&cluster, 2).await?;
    let text = describe(&cluster, &["node", "edge-3"])?;
    ensure!(text.contains("FlowKeyDiffers") && text.contains("not that of the members (000000ab)"), "{text}");
    cluster.settled(&NAMES[..2]).await?;
    third.give(FLOW_KEY);
    third.keys.subscribe().wait_for(|keys| keys.lacks.is_none()).await?;
    third.state.send_replace(Some(AgentState::Ready));
    cluster.settled(&NAMES).await?;
    Ok(())
}
