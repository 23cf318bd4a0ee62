//! The API server is gone, comes back, forgets what it was asked for, or does not answer.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::cluster::Matching;

use super::process::Agent;
use super::requests::Requests;
use super::site::{HOST, Site};
use super::until;

/// What was live stays live, the node stays ready and says what it does not follow, and what changed meanwhile is live
/// soon after the server is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_api_server_stops_nothing() -> Result<()> {
    let mut site = Site::start().await?;
    site.ingress("shop", "old", "old.example.org", None).await?;
    let agent = Agent::start(&site.control_plane.kubeconfig(), site.folder.path(), &[])?;
    agent.await_status("old.example.org", 200)?;
    let requests = Requests::start(agent.http, HOST);

    site.control_plane.kill_api_server()?;
    until("the agent notices", || {
        agent.ready().is_ok_and(|(status, text)| status == 200 && text.contains("(unreachable): ConfigMap, "))
    })?;
    std::thread::sleep(Duration::from_secs(2));
    ensure!(agent.status_of("old.example.org") == 200, "the last state stays");
    let told = agent.log().matches("cannot be followed").count();
    ensure!(told <= 11, "told once a kind, not {told} times:\n{}", agent.log());

    site.control_plane.start_api_server()?;
    site.client = site.control_plane.client().await?;
    site.delete_ingress("old").await?;
    site.ingress("shop", "new", "new.example.org", None).await?;
    agent.await_status("new.example.org", 200)?;
    agent.await_status("old.example.org", 404)?;
    until("everything is followed", || agent.ready().is_ok_and(|(_, text)| !text.contains("not followed")))?;
    requests.all_answered()
}

/// 410 Gone again and again: nothing is taken away before a new list is complete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_versions_are_read_anew_without_a_gap() -> Result<()> {
    let site = Site::start().await?;
    site.ingress("shop", "old", "old.example.org", None).await?;
    let agent = site.agent(&[])?;
    agent.await_status("old.example.org", 200)?;
    let requests = Requests::start(agent.http, HOST);
    for round in 0..5 {
        site.fault.expire(Matching::all().watches(true));
        site.fault.cut();
        std::thread::sleep(Duration::from_millis(300));
        if round == 0 {
            site.delete_ingress("old").await?;
            site.ingress("shop", "new", "new.example.org", None).await?;
        }
        site.fault.heal();
        agent.await_status("new.example.org", 200)?;
        agent.await_status("old.example.org", 404)?;
    }
    requests.all_answered()
}

/// Without streamed lists, as on a server where the feature is off: pages, and all else as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_streamed_lists_is_followed() -> Result<()> {
    let options = lb_tests::cluster::Options {
        api_server_flags: vec!["--feature-gates=WatchList=false".to_owned()],
        ..Default::default()
    };
    let site = Site::start_with(options).await?;
    let agent = site.agent(&[])?;
    agent.await_status(HOST, 200)?;
    site.ingress("shop", "new", "new.example.org", None).await?;
    agent.await_status("new.example.org", 200)?;
    let seen = site.fault.seen();
    let lists = seen
        .iter()
        .filter(|request| request.path.ends_with("/ingresses") && request.query.contains("limit=500"));
    ensure!(lists.count() == 1, "one list of Ingresses");
    let is_ours = |line: &str| line.contains("WARN") && line.contains("lb_agent::source");
    ensure!(!agent.log().lines().any(is_ours), "{}", agent.log());
    Ok(())
}

/// Each answer is late: slow, but nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_is_followed() -> Result<()> {
    let site = Site::start().await?;
    site.fault.delay(Duration::from_millis(700));
    let agent = site.agent(&[])?;
    agent.await_status(HOST, 200)?;
    let requests = Requests::start(agent.http, HOST);
    site.ingress("shop", "new", "new.example.org", None).await?;
    agent.await_status("new.example.org", 200)?;
    site.fault.cut();
    site.ingress("shop", "later", "later.example.org", None).await?;
    agent.await_status("later.example.org", 200)?;
    requests.all_answered()
}

/// All watches share one connection where the server speaks HTTP/2, as API servers do; whoever writes has another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_share_a_connection() -> Result<()> {
    let site = Site::start().await?;
    let agent = Agent::start(&site.control_plane.kubeconfig(), site.folder.path(), &[])?;
    agent.await_status(HOST, 200)?;
    let address = site.control_plane.url().trim_start_matches("https://").parse()?;
    until("two connections are left", || agent.connections_to(address).is_ok_and(|count| count == 2))?;
    site.ingress("shop", "new", "new.example.org", None).await?;
    agent.await_status("new.example.org", 200)
}
