//! The agent starts while the API server is away, from what it stored.

use std::fs;

use anyhow::{Result, ensure};

use super::process::Agent;
use super::site::{HOST, Site};
use super::until;

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
