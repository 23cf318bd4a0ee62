//! Objects that are larger than usual, and what is not kept of them.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::DeleteParams;
use lb_tests::cluster::Options;
use serde_json::json;

use super::requests::Requests;
use super::site::{HOST, Site, ingress};

/// 100 kB of annotations are nothing to the agent: they are not kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn annotations_cost_no_memory() -> Result<()> {
    let site = Site::start().await?;
    let agent = site.agent(&[])?;
    agent.await_status(HOST, 200)?;
    let requests = Requests::start(agent.http, HOST);
    let before = agent.resident()?;
    for number in 0..100 {
        let mut object = ingress(&format!("n{number}"), &format!("n{number}.example.org"), None);
        object["metadata"]["annotations"] = json!({"example.org/notes": "x".repeat(100_000)});
        site.create::<Ingress>(Some("shop"), object).await?;
        let map = json!({"metadata": {"name": format!("n{number}")}, "data": {"notes": "x".repeat(100_000)}});
        site.create::<ConfigMap>(Some("shop"), map).await?;
    }
    agent.await_status("n99.example.org", 200)?;
    let more = agent.resident()?.saturating_sub(before);
    ensure!(more < 16 * 1024, "{more} KiB more for 20 MB that nobody reads");
    requests.all_answered()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingress_may_have_a_thousand_paths() -> Result<()> {
    let site = Site::start().await?;
    let agent = site.agent(&[])?;
    agent.await_status(HOST, 200)?;
    let requests = Requests::start(agent.http, HOST);
    let mut object = ingress("many", "many.example.org", None);
    let path = object["spec"]["rules"][0]["http"]["paths"][0].clone();
    let paths = (0..1000).map(|number| {
        let mut path = path.clone();
        path["path"] = json!(format!("/p{number}"));
        path
    });
    object["spec"]["rules"][0]["http"]["paths"] = paths.collect();
    site.create::<Ingress>(Some("shop"), object).await?;
    super::until("the last path answers", || {
        let fetch = |path: &str| {
            let stream = std::net::TcpStream::connect(agent.http)?;
            lb_tests::lab::http::Connection::new(stream).fetch("many.example.org", path)
        };
        [("/p0", 200), ("/p999/x", 200), ("/p1000", 404), ("/", 404)]
            .iter()
            .all(|(path, status)| fetch(path).is_ok_and(|answer| answer.status == *status))
    })?;
    requests.all_answered()
}

/// A namespace goes with all that is in it, piece by piece, and takes nothing else along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_may_go_with_everything_in_it() -> Result<()> {
    let site = Site::start_with(Options { controllers: true, ..Options::default() }).await?;
    site.create::<Namespace>(None, json!({"metadata": {"name": "gone"}})).await?;
    site.expose("gone").await?;
    site.certificate("gone", "tls", &["gone.example.org"]).await?;
    site.ingress("gone", "gone", "gone.example.org", Some("tls")).await?;
    let agent = site.agent(&[])?;
    agent.await_status("gone.example.org", 200)?;
    let requests = Requests::start(agent.http, HOST);
    Api::<Namespace>::all(site.client.clone()).delete("gone", &DeleteParams::default()).await?;
    agent.await_status("gone.example.org", 404)?;
    super::until("nothing is left of it", || {
        agent.dump().is_ok_and(|dump| !dump["snapshot"].to_string().contains("gone"))
    })?;
    requests.all_answered()
}
