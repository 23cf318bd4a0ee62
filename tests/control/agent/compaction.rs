//! etcd is compacted while the agent is cut off: the versions that it knows are not to be had any more.

use anyhow::{Result, ensure};
use lb_tests::cluster::Options;

use super::requests::Requests;
use super::site::{HOST, Site};
use super::until;

/// What the source says when a version has expired.
const ANEW: &str = "reading everything anew";

/// The API server forgets, too: it is killed and started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_and_a_new_api_server_leave_no_gap() -> Result<()> {
    check(&[], true).await
}

/// The API server has no memory of its own: watches are etcd's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_below_an_api_server_without_cache_leaves_no_gap() -> Result<()> {
    check(&["--watch-cache=false"], false).await
}

async fn check(flags: &[&str], restarts: bool) -> Result<()> {
    let api_server_flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    let mut site = Site::start_with(Options { api_server_flags, ..Options::default() }).await?;
    site.ingress("shop", "old", "old.example.org", None).await?;
    let agent = site.agent(&["--log", "info,lb_agent::source=debug"])?;
    agent.await_status("old.example.org", 200)?;
    let requests = Requests::start(agent.http, HOST);

    site.fault.refuse();
    site.fault.cut();
    // It must not hear of what comes now.
    let server = site.fault.url().trim_start_matches("https://").trim_end_matches('/').parse()?;
    until("it is cut off", || agent.connections_to(server).is_ok_and(|count| count == 0))?;
    site.delete_ingress("old").await?;
    site.ingress("shop", "new", "new.example.org", None).await?;
    site.control_plane.compact()?;
    if restarts {
        site.control_plane.kill_api_server()?;
        site.control_plane.start_api_server()?;
    }
    ensure!(!agent.log().contains(ANEW), "it is cut off:\n{}", agent.log());
    ensure!(agent.status_of("old.example.org") == 200, "the last state stays");

    site.fault.heal();
    agent.await_status("new.example.org", 200)?;
    agent.await_status("old.example.org", 404)?;
    ensure!(agent.log().contains(ANEW), "no version has expired:\n{}", agent.log());
    until("everything is followed", || agent.ready().is_ok_and(|(_, text)| !text.contains("not followed")))?;
    requests.all_answered()
}
