//! The agent starts while the API server is away, from what it stored.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_agent::model::{ListenerProtocol, Turn};
use lb_agent::source::Settings;
use lb_agent::source::kube::{Options, SecretProfile, source};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::process::Agent;
use super::site::{HOST, Site};
use super::{PATIENCE, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_starts_without_the_api_server() -> Result<()> {
    let mut site = Site::start().await?;
    let agent = site.agent(&[])?;
    agent.await_status(HOST, 200)?;
    let stored = site.folder.path().join("state/snapshot");
    until("the state is stored with its Secret", || {
        fs::read_to_string(&stored).is_ok_and(|text| text.contains("Secret {"))
    })?;
    agent.stop()?;

    site.control_plane.kill_api_server()?;
    let agent = site.agent(&[])?;
    let (_, text) = agent.ready()?;
    ensure!(text.contains("from the stored snapshot of"), "{text}");
    ensure!(agent.status_of(HOST) == 200, "{}", agent.log());
    ensure!(agent.metric("lb_source_stored")? == 1.0);
    ensure!(agent.dump()?["source"]["basis"] == "stored");
    let generation = agent.dump()?["generation"]["snapshot"].clone();

    // Back, with the same objects: nothing is made again, and nobody notices.
    site.control_plane.start_api_server()?;
    until("the cluster is followed", || agent.dump().is_ok_and(|dump| dump["source"]["basis"] == "cluster"))?;
    ensure!(agent.dump()?["generation"]["snapshot"] == generation, "{}", agent.log());
    ensure!(agent.metric("lb_source_stored")? == 0.0);
    site.client = site.control_plane.client().await?;
    site.ingress("shop", "new", "new.example.org", None).await?;
    agent.await_status("new.example.org", 200)
}

/// What is stored may be damaged, or another cluster's: said, and never used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_is_used_for_its_own_cluster_only() -> Result<()> {
    let site = Site::start().await?;
    let stored = site.folder.path().join("state/snapshot");
    let agent = site.agent(&[])?;
    until("the state is stored", || stored.exists())?;
    agent.stop()?;
    let whole = fs::read(&stored)?;

    fs::write(&stored, &whole[..whole.len() / 2])?;
    let mut log = Vec::new();
    let agent = site.agent(&[])?;
    log.push(agent.log());
    ensure!(log[0].contains("its checksum is wrong"), "{}", log[0]);
    agent.await_status(HOST, 200)?;
    agent.stop()?;

    // An answer without the objects: the uid says whose they are before anything of them is used.
    let other = Site::start().await?;
    fs::create_dir_all(other.folder.path().join("state"))?;
    fs::write(other.folder.path().join("state/snapshot"), &whole)?;
    other.fault.answer(lb_tests::cluster::Matching::path("/ingresses"), 500);
    let agent = Agent::start(&other.kubeconfig()?, other.folder.path(), &[])?;
    until("it is discarded", || agent.log().contains("of another cluster"))?;
    other.fault.heal();
    agent.await_ready()?;
    ensure!(!agent.log().contains("starting from the stored snapshot"), "{}", agent.log());
    Ok(())
}

/// Of a node's agents the one with the packet path stores its state: that of one that waits, or has left, may be older.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_has_the_packet_path_stores() -> Result<()> {
    let site = Site::start().await?;
    let (snapshots, mut found) = watch::channel(None);
    let options = Options {
        node: "edge-1".to_owned(),
        namespace: "edgelb-system".to_owned(),
        secrets: SecretProfile::Cluster,
        folder: site.folder.path().to_owned(),
    };
    let client = site.client.clone();
    // A listener, so that there is a state that routes are a part of.
    let standalone = [("127.0.0.1:80".parse()?, ListenerProtocol::Http)].into();
    let settings = Settings { standalone, ..Settings::default() };
    let (source, _handle) = source(Box::new(move || Ok(client.clone())), options, settings, snapshots);
    let turn = watch::Sender::new(Turn::Waiting);
    let running = tokio::spawn(source.run(turn.subscribe()));
    timeout(PATIENCE, found.wait_for(Option::is_some)).await??;
    let stored = site.folder.path().join("snapshot");
    let text = || fs::read_to_string(&stored).unwrap_or_default();
    // It would be written a second after the first state.
    sleep(Duration::from_secs(2)).await;
    ensure!(!stored.exists(), "another agent has the packet path");

    turn.send_replace(Turn::Holding);
    until("it is stored", || text().contains(HOST))?;
    turn.send_replace(Turn::After);
    site.ingress("shop", "new", "new.example.org", None).await?;
    timeout(PATIENCE, found.changed()).await??;
    sleep(Duration::from_secs(2)).await;
    ensure!(!text().contains("new.example.org"), "the next agent stores now");
    turn.send_replace(Turn::Holding);
    until("what changed meanwhile is stored", || text().contains("new.example.org"))?;
    running.abort();
    Ok(())
}
