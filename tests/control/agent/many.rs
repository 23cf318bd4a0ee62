//! As many objects as a large cluster has: the agent follows, stays small, and writes each status once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use lb_tests::cluster::Options;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::requests::Requests;
use super::site::{HOST, Site, ingress};

const INGRESSES: usize = 10_000;
const SERVICES: usize = 1000;
const ENDPOINTS: usize = 20;

/// Requests of the test under way at once.
const AT_ONCE: usize = 32;

/// An agent of the tests' build has this much, at most: measured 115 MiB.
const MOST_MEMORY: u64 = 256 * 1024;

fn service(number: usize) -> Value {
    json!({"metadata": {"name": format!("s{number}")}, "spec": {"ports": [{"name": "http", "port": 80}]}})
}

/// None of them is asked for anything.
fn slice(number: usize) -> Value {
    let endpoint =
        |at: usize| json!({"addresses": [format!("198.51.100.{}", at + 1)], "conditions": {"ready": true}});
    json!({
        "metadata": {"name": format!("s{number}"), "labels": {"kubernetes.io/service-name": format!("s{number}")}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": (0..ENDPOINTS).map(endpoint).collect::<Vec<_>>(),
    })
}

/// One in a hundred leads to the backend that answers.
fn many_ingress(number: usize) -> Value {
    let mut object = ingress(&format!("n{number:05}"), &host(number), None);
    if !number.is_multiple_of(100) {
        let service = json!(format!("s{}", number % SERVICES));
        object["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = service;
    }
    object
}

fn host(number: usize) -> String {
    format!("n{number}.example.org")
}

impl Site {
    async fn create_all<K>(&self, count: usize, object: impl Fn(usize) -> Value) -> Result<()>
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug,
        K: serde::Serialize + serde::de::DeserializeOwned,
    {
        let requests = (0..count).map(|number| self.create::<K>(Some("shop"), object(number)));
        stream::iter(requests).buffer_unordered(AT_ONCE).try_collect().await
    }

    fn status_writes(&self) -> Result<usize> {
        let writes = self.control_plane.writes()?;
        Ok(writes.iter().filter(|write| write.resource == "ingresses/status").count())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_ingresses_and_a_thousand_services() -> Result<()> {
    // Room for a thousand Services; nothing is sent to any of them.
    let api_server_flags = vec!["--service-cluster-ip-range=198.18.0.0/16".to_owned()];
    let site = Site::start_with(Options { api_server_flags, ..Options::default() }).await?;
    site.with_vip().await?;
    // Past the faulty proxy, with a connection of HTTP/2: as in a cluster.
    let start = || super::process::Agent::start(&site.control_plane.kubeconfig(), site.folder.path(), &[]);
    let agent = start()?;
    agent.await_status(HOST, 200)?;
    let requests = Requests::start(agent.http, HOST);
    let begun = Instant::now();
    site.create_all::<Service>(SERVICES, service).await?;
    site.create_all::<EndpointSlice>(SERVICES, slice).await?;
    site.create_all::<Ingress>(INGRESSES, many_ingress).await?;
    let created = begun.elapsed();
    agent.await_status(&host(INGRESSES - 100), 200)?;
    site.all_written(&agent, Duration::from_secs(240)).await?;
    let written = begun.elapsed();

    let dump = agent.dump()?;
    let hosts = dump["snapshot"]["route_tables"][0]["hosts"].as_array().context("hosts")?;
    ensure!(hosts.len() == INGRESSES + 1, "{} hosts", hosts.len());
    let whole = |host: &Value| {
        let endpoints = host["rules"][0]["backend"]["endpoints"].as_array().map_or(0, Vec::len);
        [1, ENDPOINTS].contains(&endpoints)
    };
    ensure!(hosts.iter().all(whole), "endpoints are missing");
    let memory = agent.resident()?;
    // One for each, and one for the Ingress that the site has.
    let writes = site.status_writes()?;
    println!(
        "created within {created:?}, written within {written:?} by {writes} writes, {} MiB",
        memory / 1024
    );
    ensure!((INGRESSES..=INGRESSES + 1 + INGRESSES / 100).contains(&writes), "{writes} writes");
    ensure!(memory < MOST_MEMORY, "{} MiB", memory / 1024);
    requests.all_answered()?;

    agent.stop()?;
    let agent = start()?;
    agent.await_status(&host(0), 200)?;
    super::until("it leads", || agent.metric("lb_status_leader").is_ok_and(|leads| leads == 1.0))?;
    // Longer than the leader takes to ask for a report.
    sleep(Duration::from_secs(8)).await;
    ensure!(site.status_writes()? == writes, "a second start writes nothing");
    Ok(())
}
