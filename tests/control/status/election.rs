//! Who leads: one of three, whatever becomes of it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use lb_tests::cluster::Matching;
use tokio::time::sleep;

use super::cluster::{Agent, Cluster, PATIENCE, TIMING};

const NAMES: [&str; 3] = ["edge-1", "edge-2", "edge-3"];

async fn three(cluster: &Cluster) -> Result<Vec<Agent>> {
    let mut agents = Vec::new();
    for name in NAMES {
        agents.push(cluster.agent(name).await?);
    }
    Ok(agents)
}

fn leads(agent: &Agent) -> bool {
    agent.metric("lb_status_leader").is_ok_and(|leads| leads == 1)
}

/// How many think that they lead, looked at all the time until the condition holds.
async fn at_most_one(agents: &[Agent], what: &str, holds: impl Fn() -> bool) -> Result<()> {
    let start = Instant::now();
    while !holds() {
        let leaders = agents.iter().filter(|agent| leads(agent)).count();
        ensure!(leaders <= 1, "{leaders} lead at a time");
        ensure!(start.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

fn take(agents: &mut Vec<Agent>, name: &str) -> Agent {
    let at = agents.iter().position(|agent| agent.node == name).expect("it is one of them");
    agents.remove(at)
}

fn others<'a>(name: &str) -> Vec<&'a str> {
    NAMES.into_iter().filter(|other| *other != name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_leads_and_another_when_it_is_killed() -> Result<()> {
    let cluster = Cluster::start(&[]).await?;
    let mut agents = three(&cluster).await?;
    let first = cluster.led_by(&NAMES).await?;
    at_most_one(&agents, "nobody knows that it leads", || agents.iter().any(leads)).await?;
    take(&mut agents, &first).kill();
    let killed = Instant::now();
    let second = cluster.led_by(&others(&first)).await?;
    let took = killed.elapsed();
    ensure!(
        took >= TIMING.leader_period - TIMING.leader_retry * 2,
        "after {took:?}: the Lease was not over yet"
    );
    ensure!(took < TIMING.leader_period * 2, "after {took:?}");
    at_most_one(&agents, "nobody knows that it leads", || agents.iter().any(leads)).await?;
    ensure!(second != first);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_stop_hands_the_office_over_at_once() -> Result<()> {
    let cluster = Cluster::start(&[]).await?;
    let mut agents = three(&cluster).await?;
    let first = cluster.led_by(&NAMES).await?;
    let leader = take(&mut agents, &first);
    let stopping = Instant::now();
    leader.stop().await?;
    cluster.led_by(&others(&first)).await?;
    ensure!(stopping.elapsed() < TIMING.leader_period, "after {:?}", stopping.elapsed());
    Ok(())
}

/// It stands in the Lease, but was not told yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_before_the_servers_word_comes_hands_the_office_over_too() -> Result<()> {
    let cluster = Cluster::start(&[]).await?;
    // Nobody runs before it has read the edge nodes.
    let nodes = cluster.nodes.send_replace(None);
    let agent = cluster.agent("edge-1").await?;
    let late = Duration::from_millis(800);
    ensure!(late < TIMING.patience);
    agent.fault.delay(late);
    cluster.nodes.send_replace(nodes);
    cluster.led_by(&["edge-1"]).await?;
    agent.stop().await?;
    assert_eq!(cluster.leader().await?, "");
    Ok(())
}

/// The old leader has stopped before a new one begins, though nobody tells it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_stops_before_another_begins() -> Result<()> {
    let cluster = Cluster::start(&[]).await?;
    let agents = three(&cluster).await?;
    let first = cluster.led_by(&NAMES).await?;
    let old = agents.iter().position(|agent| agent.node == first).expect("it is one of them");
    at_most_one(&agents, "it does not know that it leads", || leads(&agents[old])).await?;
    // Neither refused nor answered: it hangs.
    agents[old].fault.delay(PATIENCE);
    let is_other = || agents.iter().enumerate().any(|(at, agent)| at != old && leads(agent));
    at_most_one(&agents, "no other leads", is_other).await?;
    agents[old].fault.heal();
    agents[old].fault.cut();
    let healed = Instant::now();
    at_most_one(&agents, "time passes", || healed.elapsed() > TIMING.leader_period).await?;
    ensure!(!leads(&agents[old]), "the office is another's now");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_or_overloaded_server_does_not_change_the_leader() -> Result<()> {
    let cluster = Cluster::start(&[]).await?;
    let agents = three(&cluster).await?;
    let first = cluster.led_by(&NAMES).await?;
    for agent in &agents {
        agent.fault.delay(Duration::from_millis(500));
    }
    let start = Instant::now();
    at_most_one(&agents, "time passes", || start.elapsed() > TIMING.leader_period * 2).await?;
    for agent in &agents {
        agent.fault.heal();
        agent.fault.answer(Matching::path("/leases"), 429);
    }
    sleep(TIMING.leader_retry * 2).await;
    agents.iter().for_each(|agent| agent.fault.heal());
    let start = Instant::now();
    at_most_one(&agents, "time passes", || start.elapsed() > TIMING.leader_period * 2).await?;
    let lease: Lease = cluster.leases().get("edgelb-leader").await?;
    let transitions = lease.spec.and_then(|spec| spec.lease_transitions);
    assert_eq!((cluster.leader().await?, transitions), (first, Some(0)));
    Ok(())
}
