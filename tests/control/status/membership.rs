//! The history of memberships, as the leader writes it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use lb_agent::api::EdgeMembership;
use lb_agent::model::{Drain, Loaded, Mark, Step};
use lb_agent::status::AgentState;
use lb_tests::cluster::Matching;
use serde_json::json;
use tokio::time::sleep;

use super::cluster::{Agent, Cluster, PATIENCE, TIMING};

const NAMES: [&str; 3] = ["edge-1", "edge-2", "edge-3"];

async fn three(cluster: &Cluster) -> Result<Vec<Agent>> {
    let mut agents = Vec::new();
    for name in NAMES {
        agents.push(cluster.agent(name).await?);
    }
    cluster.settled(&NAMES).await?;
    Ok(agents)
}

async fn until<F: Future<Output = Result<bool>>>(what: &str, holds: impl Fn() -> F) -> Result<()> {
    let start = Instant::now();
    while !holds().await? {
        ensure!(start.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_join_when_ready_and_leave_at_their_own_word() -> Result<()> {
    let cluster = Cluster::start(&NAMES).await?;
    let mut agents = three(&cluster).await?;
    let lease = cluster.leases().get("edgelb-node-edge-2").await?;
    assert_eq!(lease.labels()["edgelb.dev/node"], "edge-2");
    assert_eq!(lease.annotations()["edgelb.dev/addresses"], "198.51.100.2");
    assert_eq!(lease.annotations()["edgelb.dev/state"], "ready");

    // Each takes itself out, the leader too: nobody waits for a Lease to run out.
    let leader = cluster.leader().await?;
    let at = agents.iter().position(|agent| agent.node == leader).context("it is one of them")?;
    let stopping = Instant::now();
    agents.remove(at).stop().await?;
    let left: Vec<_> = NAMES.into_iter().filter(|name| *name != leader).collect();
    cluster.settled(&left).await?;
    ensure!(stopping.elapsed() < TIMING.agent_period, "after {:?}", stopping.elapsed());

    let before = cluster.generations().await?;
    agents.push(cluster.agent(&leader).await?);
    cluster.settled(&NAMES).await?;
    ensure!(before != cluster.generations().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_goes_after_a_period() -> Result<()> {
    let cluster = Cluster::start(&NAMES).await?;
    let mut agents = three(&cluster).await?;
    let leader = cluster.leader().await?;
    let at = agents.iter().position(|agent| agent.node != leader).context("there are others")?;
    let dead = agents.remove(at);
    let name = dead.node.clone();
    dead.kill();
    let killed = Instant::now();
    let left: Vec<_> = NAMES.into_iter().filter(|other| *other != name).collect();
    cluster.settled(&left).await?;
    let took = killed.elapsed();
    ensure!(took > TIMING.agent_period - TIMING.agent_renewal * 2, "after {took:?}: too early");
    ensure!(took < TIMING.agent_period * 2, "after {took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_goes_too() -> Result<()> {
    let cluster = Cluster::start(&NAMES).await?;
    let mut agents = three(&cluster).await?;
    let leader = cluster.leader().await?;
    let at = agents.iter().position(|agent| agent.node == leader).context("it is one of them")?;
    agents.remove(at).kill();
    let left: Vec<_> = NAMES.into_iter().filter(|other| *other != leader).collect();
    cluster.settled(&left).await?;
    Ok(())
}

/// All Leases run out while the API server is away. Nobody is thrown out when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_api_server_changes_nothing() -> Result<()> {
    let mut cluster = Cluster::start(&NAMES).await?;
    let agents = three(&cluster).await?;
    let before = cluster.generations().await?;
    cluster.control_plane.kill_api_server()?;
    sleep(TIMING.agent_period * 2).await;
    cluster.control_plane.start_api_server()?;
    let back = Instant::now();
    while back.elapsed() < TIMING.agent_period * 3 {
        if let Ok(found) = cluster.generations().await {
            assert_eq!(found, before);
        }
        sleep(Duration::from_millis(50)).await;
    }
    // And it goes on.
    agents[0].state.send_replace(Some(AgentState::Draining));
    until("somebody drains", async || {
        Ok(cluster.generations().await?.last().is_some_and(|newest| newest.contains("*")))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_watches_and_wrong_answers_change_nothing() -> Result<()> {
    let cluster = Cluster::start(&NAMES).await?;
    let agents = three(&cluster).await?;
    let before = cluster.generations().await?;
    for round in 0..6 {
        for agent in &agents {
            match round % 3 {
                0 => agent.fault.cut(),
                1 => agent.fault.expire(Matching::path("/leases").watches(true)),
                _ => agent.fault.answer(Matching::path("/leases").watches(true), 429),
            }
        }
        sleep(TIMING.agent_period / 3).await;
        agents.iter().for_each(|agent| agent.fault.heal());
    }
    sleep(TIMING.agent_period * 2).await;
    assert_eq!(cluster.generations().await?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_decide_who_can_be_a_member() -> Result<()> {
    let cluster = Cluster::start(&NAMES).await?;
    let _agents = three(&cluster).await?;
    cluster.change_nodes(|nodes| nodes.retain(|node| node.name != "edge-3"));
    cluster.settled(&NAMES[..2]).await?;
    cluster.change_nodes(Vec::clear);
    sleep(TIMING.agent_period).await;
    cluster.settled(&NAMES[..2]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_tells_how_far_the_nodes_are() -> Result<()> {
    let cluster = Cluster::start(&NAMES).await?;
    let mut agents = three(&cluster).await?;
    // The last one is stuck: it does not learn the generation in which the first drains.
    agents[2].freeze().await;
    agents[0].state.send_replace(Some(AgentState::Draining));
    let status =
        async || anyhow::Ok(cluster.history().await?.and_then(|history| history.status).unwrap_or_default());
    until("2 of 3", async || Ok(status().await?.acknowledged == "2 of 3")).await?;
    let found = status().await?;
    assert_eq!((found.members.as_str(), found.draining.as_str()), ("edge-1,edge-2,edge-3", "edge-1"));
    // A further change waits.
    agents[1].state.send_replace(Some(AgentState::Draining));
    until("the next change waits", async || {
        let words = "(edge-2 drains): edge-3 has not acknowledged generation ";
        Ok(status().await?.waiting.iter().any(|waiting| waiting.contains(words)))
    })
    .await?;
    assert_eq!(cluster.generations().await?.len(), 2);
    Ok(())
}

/// Learn, switch, settled; then the one before it is kept for as long as a node needs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_is_learned_and_the_generation_before_retires_when_nobody_needs_it() -> Result<()> {
    let cluster = Cluster::start(&NAMES).await?;
    let mut agents = vec![cluster.agent("edge-1").await?, cluster.agent("edge-2").await?];
    let number = cluster.settled(&NAMES[..2]).await?;
    agents[1].loaded.send_modify(|loaded| (loaded.needed, loaded.held) = (Some(number), 12));
    agents[1].freeze().await;
    agents.push(cluster.agent("edge-3").await?);
    // Nobody opens flows at the newcomer before all know that they may be there.
    let learned = format!("{}? ", number + 1);
    until("it is learned", async || {
        let found = cluster.generations().await?;
        Ok(found.len() == 2 && found[1].starts_with(&learned) && found[1].contains(" edge-33"))
    })
    .await?;
    sleep(TIMING.agent_period * 2).await;
    ensure!(cluster.generations().await?[1].starts_with(&learned), "edge-2 has not acknowledged it");
    agents[1].thaw(&cluster);
    let settled = format!("{} ", number + 1);
    until("it is settled", async || {
        let found = cluster.generations().await?;
        Ok(found.len() == 2 && found[1].starts_with(&settled))
    })
    .await?;
    sleep(TIMING.agent_period).await;
    assert_eq!(cluster.generations().await?.len(), 2, "edge-2 needs the first");
    agents[1].loaded.send_modify(|loaded| loaded.needed = None);
    cluster.settled(&NAMES).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cordon_drains_and_says_what_is_left() -> Result<()> {
    let cluster = Cluster::start(&NAMES).await?;
    let agents = three(&cluster).await?;
    let cordon = |at: usize, drain| cluster.change_nodes(|nodes| nodes[at].drain = drain);
    agents[1].loaded.send_modify(|loaded| {
        (loaded.held, loaded.oldest) = (3, Some(Duration::from_secs(270)));
    });
    cordon(1, Some(Drain::Cordoned));
    let status =
        async || anyhow::Ok(cluster.history().await?.and_then(|history| history.status).unwrap_or_default());
    let left = async |words: &str| until(words, async || Ok(status().await?.drains == [words])).await;
    left("edge-2: 3 connections left, the oldest 4 min").await?;
    agents[1].loaded.send_modify(|loaded| (loaded.held, loaded.oldest) = (0, None));
    left("edge-2: done").await?;
    cluster.settled(&NAMES).await?;
    assert_eq!(status().await?.draining, "edge-2");

    // The agent's own word does the same, and all together go on.
    agents[0].state.send_replace(Some(AgentState::Draining));
    cordon(2, Some(Drain::Tainted));
    until("all drain", async || Ok(status().await?.draining == "edge-1,edge-2,edge-3")).await?;
    // Taken back, all is as before.
    agents[0].state.send_replace(Some(AgentState::Ready));
    (1..3).for_each(|at| cordon(at, None));
    until("none drains", async || Ok(status().await?.draining.is_empty())).await?;
    cluster.settled(&NAMES).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_of_a_node_that_is_gone_is_deleted() -> Result<()> {
    let cluster = Cluster::start(&NAMES).await?;
    let mut agents = three(&cluster).await?;
    agents.remove(2).kill();
    cluster.change_nodes(|nodes| nodes.retain(|node| node.name != "edge-3"));
    until("its Lease is gone", async || Ok(cluster.leases().get_opt("edgelb-node-edge-3").await?.is_none()))
        .await?;
    ensure!(cluster.leases().get_opt("edgelb-node-edge-2").await?.is_some());
    Ok(())
}

/// What does not fit together is put right with what was there before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_in_the_history_is_mended() -> Result<()> {
    let cluster = Cluster::start(&NAMES).await?;
    let mut agents = three(&cluster).await?;
    let number = cluster.settled(&NAMES).await?;
    // No agent takes nonsense into its kernel; that of a test would.
    for agent in &mut agents {
        agent.freeze().await;
    }
    let histories = kube::Api::<EdgeMembership>::all(cluster.client.clone());
    let good = cluster.history().await?.context("it is there")?.spec;
    let member = |name, id, address| json!({"name": name, "id": id, "address": address, "weight": 1, "state": "Active"});
    let [one, twin] = [member("edge-1", 1, "198.51.100.1"), member("edge-2", 1, "198.51.100.2")];
    let [double, odd] = [member("edge-2", 2, "198.51.100.1"), member("edge-2", 2, "nonsense")];
    for (what, generations) in [
        ("one id twice", json!([{"number": number + 1, "step": "Switch", "members": [one, twin]}])),
        ("one address twice", json!([{"number": number + 1, "step": "Switch", "members": [one, double]}])),
        ("no address", json!([{"number": number + 1, "step": "Switch", "members": [one, odd]}])),
        ("a number that fell", json!([{"number": 1, "step": "Switch", "members": [one]}])),
        (
            "numbers at their end",
            json!([{"number": 9_007_199_254_740_991_u64, "step": "Switch", "members": [one]}]),
        ),
        ("others in it", json!([{"number": number, "step": "Settled", "members": [one]}])),
        ("none", json!([])),
    ] {
        let edit = json!({"spec": {"generations": generations}});
        histories.patch(EdgeMembership::NAME, &PatchParams::default(), &Patch::Merge(edit)).await?;
        until(what, async || Ok(cluster.history().await?.is_some_and(|history| history.spec == good)))
            .await?;
    }
    // The API server itself refuses what no reader of JSON could hold.
    let edit = json!({"spec": {"generations": [{"number": i64::MAX, "step": "Switch", "members": [one]}]}});
    let refused = histories.patch(EdgeMembership::NAME, &PatchParams::default(), &Patch::Merge(edit)).await;
    ensure!(refused.is_err());
    agents[0].state.send_replace(Some(AgentState::Draining));
    until("it goes on", async || {
        Ok(cluster.generations().await?.last().is_some_and(|newest| newest.contains('*')))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_differ_are_reported() -> Result<()> {
    let cluster = Cluster::start(&NAMES).await?;
    let mut agents = three(&cluster).await?;
    let number = cluster.settled(&NAMES).await?;
    let membership = Mark { number, step: Step::Settled, oldest: number };
    until("all have the last step", async || {
        Ok(agents.iter().all(|agent| agent.loaded.borrow().membership == membership))
    })
    .await?;
    agents[2].freeze().await;
    agents[2].loaded.send_replace(Loaded { generation: 1, membership, rows: Some(666), ..Loaded::default() });
    until("edge-3 diverges", async || {
        let status = cluster.history().await?.and_then(|history| history.status).unwrap_or_default();
        Ok(status.diverging == ["edge-3"])
    })
    .await?;
    until("the leader's metric says so", async || {
        let of = |agent: &Agent| agent.metric("lb_status_diverging_members").ok();
        Ok(agents.iter().filter_map(of).sum::<u64>() == 1)
    })
    .await
}

/// What people do to the object is no harm: numbers rise, and it is there again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_was_deleted_or_edited_is_written_again() -> Result<()> {
    let cluster = Cluster::start(&NAMES).await?;
    let agents = three(&cluster).await?;
    let number = cluster.settled(&NAMES).await?;
    let histories = kube::Api::<EdgeMembership>::all(cluster.client.clone());
    histories.delete(EdgeMembership::NAME, &DeleteParams::default()).await?;
    agents[0].state.send_replace(Some(AgentState::Draining));
    until("it is back, and goes on from where it was", async || {
        let newest =
            cluster.history().await?.and_then(|history| Some(history.spec.generations.last()?.number));
        Ok(newest > Some(number))
    })
    .await?;
    // Its version is not the one that the leader knows any more.
    let note = json!({"metadata": {"annotations": {"someone": "was here"}}});
    histories.patch(EdgeMembership::NAME, &PatchParams::default(), &Patch::Merge(note)).await?;
    agents[0].state.send_replace(Some(AgentState::Ready));
    cluster.settled(&NAMES).await?;
    Ok(())
}

/// Names that fit into no label, and processes that come back quickly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_names_and_quick_restarts() -> Result<()> {
    let long = format!("{}.example.org", ["edge"; 48].join("-"));
    let names = [long.as_str(), "ip-10-0-0-1.eu-central-1.compute.internal"];
    let cluster = Cluster::start(&names).await?;
    let first = cluster.agent(names[0]).await?;
    let _second = cluster.agent(names[1]).await?;
    let number = cluster.settled(&names).await?;
    first.kill();
    let first = cluster.agent(names[0]).await?;
    sleep(TIMING.agent_period * 2).await;
    assert_eq!(cluster.settled(&names).await?, number, "a restart within the Lease is none for the cluster");
    drop(first);
    Ok(())
}

/// A rolling update: the next agent speaks for the node as soon as it has the packet path, and the one before it goes
/// without a word. No generation is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_handed_over_stays_a_member() -> Result<()> {
    let cluster = Cluster::start(&NAMES).await?;
    let mut agents = three(&cluster).await?;
    let number = cluster.settled(&NAMES).await?;
    let old = agents.remove(0);
    let new = cluster.agent_that_says("edge-1", None).await?;
    let holder = async || {
        anyhow::Ok(
            cluster.leases().get("edgelb-node-edge-1").await?.spec.context("it has one")?.holder_identity,
        )
    };
    let before = holder().await?;
    sleep(TIMING.agent_renewal * 3).await;
    old.state.send_replace(None);
    new.state.send_replace(Some(AgentState::Ready));
    until("the next one speaks", async || Ok(holder().await? != before)).await?;
    old.stop().await?;
    sleep(TIMING.agent_period * 2).await;
    assert_eq!(cluster.settled(&NAMES).await?, number);
    Ok(())
}
