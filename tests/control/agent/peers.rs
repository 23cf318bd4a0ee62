//! An agent that leads, with the Leases' real lengths, and edge nodes whose agents the test plays: with clocks that are
//! hours apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use lb_agent::api::{EdgeMembership, MembershipGeneration, MembershipStep};
use lb_agent::status::Timing;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::PATIENCE;
use super::process::Agent;
use super::requests::Requests;
use super::site::{HOST, Site};
use crate::kinds::create_kinds;

const NAMESPACE: &str = "edgelb-system";

/// The nodes, how many hours their clocks are ahead, and how long after an outage their agents speak again, seconds.
const PEERS: [(&str, i64, u64); 3] = [("edge-a", 5, 1), ("edge-b", -5, 5), ("edge-c", 0, 9)];

/// Longer than any Lease lasts, twice.
const OUTAGE: Duration = Duration::from_secs(35);

/// An agent that takes what the history says at once, and renews its Lease for as long as it lives.
struct Peer {
    is_silent: Arc<AtomicBool>,
    running: JoinHandle<()>,
}

impl Peer {
    fn start(client: Client, name: &'static str, hours: i64, late: Duration) -> Self {
        let is_silent = Arc::new(AtomicBool::new(false));
        let running = tokio::spawn(renew(client, name, hours, late, is_silent.clone()));
        Self { is_silent, running }
    }

    fn fall_silent(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn renew(client: Client, name: &str, hours: i64, late: Duration, is_silent: Arc<AtomicBool>) {
    let Timing { agent_renewal, patience, .. } = Timing::default();
    while !is_silent.load(Ordering::Relaxed) {
        match timeout(patience, write(&client, name, hours)).await {
            Ok(Ok(())) => sleep(agent_renewal).await,
            Ok(Err(_)) | Err(_) => {
                sleep(Duration::from_millis(500)).await;
                while client.apiserver_version().await.is_err() {
                    sleep(Duration::from_millis(500)).await;
                }
                sleep(late).await;
            }
        }
    }
}

async fn write(client: &Client, name: &str, hours: i64) -> Result<()> {
    let history = history(client).await?;
    let oldest = history.spec.generations.first().map_or(0, |oldest| oldest.number);
    let mark = |newest: &MembershipGeneration| format!("{} {:?} {oldest}", newest.number, newest.step);
    let acknowledged = history.spec.generations.last().map(mark).unwrap_or_default();
    let renewal = Timestamp::now() + SignedDuration::from_hours(hours);
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": format!("edgelb-node-{name}"),
            "labels": { "edgelb.dev/node": name },
            "annotations": {
                "edgelb.dev/node-name": name, "edgelb.dev/state": "ready",
                "edgelb.dev/acknowledged": acknowledged,
            },
        },
        "spec": {
            "holderIdentity": format!("{name}_1"),
            "leaseDurationSeconds": Timing::default().agent_period.as_secs(),
            "renewTime": format!("{renewal:.6}"),
        },
    });
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let params = PatchParams::apply("test").force();
    leases.patch(&format!("edgelb-node-{name}"), &params, &Patch::Apply(lease)).await?;
    Ok(())
}

async fn history(client: &Client) -> Result<EdgeMembership> {
    let histories: Api<EdgeMembership> = Api::all(client.clone());
    Ok(histories.get_opt(EdgeMembership::NAME).await?.unwrap_or_default())
}

/// Generations as `2! edge-a edge-b`: `!` is unsettled.
async fn generations(client: &Client) -> Result<Vec<String>> {
    let history = history(client).await?;
    let generations = history.spec.generations.iter().map(|generation| {
        let mark = if generation.step == MembershipStep::Settled { "" } else { "!" };
        let names: String = generation.members.iter().map(|member| format!(" {}", member.name)).collect();
        format!("{}{mark}{names}", generation.number)
    });
    Ok(generations.collect())
}

/// Waits until one settled generation has these members; gives it.
async fn settled(client: &Client, agent: &Agent, members: &str) -> Result<Vec<String>> {
    let start = Instant::now();
    loop {
        let found = generations(client).await?;
        if matches!(&found[..], [one] if !one.contains('!') && one.split_once(' ').is_some_and(|(_, names)| names == members))
        {
            return Ok(found);
        }
        ensure!(start.elapsed() < PATIENCE, "{found:?}, not {members}:\n{}", agent.log());
        sleep(Duration::from_millis(100)).await;
    }
}

/// As long as it is looked at, nothing changes; answers that fail say nothing.
async fn stays(client: &Client, expected: &[String], time: Duration) -> Result<()> {
    let start = Instant::now();
    let mut looks = 0;
    while start.elapsed() < time {
        if let Ok(found) = generations(client).await {
            ensure!(found == expected, "{found:?} after {:?}, not {expected:?}", start.elapsed());
            looks += 1;
        }
        sleep(Duration::from_millis(200)).await;
    }
    ensure!(looks > 10, "only {looks} looks: that proves nothing");
    Ok(())
}

/// All Leases run out, by every clock, while the API server is away. Whoever comes back within a period stays a member,
/// though by the other nodes' clocks it died hours ago, or will live for hours; and who dies goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_longer_than_all_leases_throws_nobody_out() -> Result<()> {
    let mut site = Site::start().await?;
    create_kinds(&site.client).await?;
    site.create::<Namespace>(None, json!({"metadata": {"name": NAMESPACE}})).await?;
    for (at, (name, ..)) in PEERS.iter().enumerate() {
        let address = format!("198.51.100.{}", at + 1);
        let node = json!({
            "metadata": {"name": name, "labels": {"edgelb.dev/edge": "true"}},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        });
        site.create::<Node>(None, node).await?;
    }
    let agent = Agent::start(&site.control_plane.kubeconfig(), site.folder.path(), &[])?;
    agent.await_status(HOST, 200)?;
    let mut peers = Vec::new();
    for (name, hours, late) in PEERS {
        let client = site.control_plane.client().await?;
        peers.push(Peer::start(client, name, hours, Duration::from_secs(late)));
    }
    let requests = Requests::start(agent.http, HOST);
    let before = settled(&site.client, &agent, "edge-a edge-b edge-c").await?;
    stays(&site.client, &before, Timing::default().agent_period).await?;

    tokio::task::block_in_place(|| site.control_plane.kill_api_server())?;
    sleep(OUTAGE).await;
    tokio::task::block_in_place(|| site.control_plane.start_api_server())?;
    site.client = site.control_plane.client().await?;
    stays(&site.client, &before, Timing::default().agent_period * 2).await?;

    // Its Lease is good for five hours, by its own clock.
    peers[0].fall_silent();
    settled(&site.client, &agent, "edge-b edge-c").await?;
    requests.all_answered()
}
