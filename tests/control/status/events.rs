//! Events: what a person sees who asks `kubectl describe`.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use lb_agent::model::{Kind, Loaded, Mark, ObjectRef, Problem, Report, Step};
use lb_tests::cluster::program;
use serde_json::json;
use tokio::time::sleep;

use super::cluster::{Cluster, PATIENCE};

fn problem(object: &ObjectRef, message: &str) -> Problem {
    Problem::error(object, "spec.rules[0].http.paths[0].backend.service.name", message)
}

async fn ingress(cluster: &Cluster, name: &str) -> Result<(ObjectRef, String)> {
    let object: Ingress = serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": name },
        "spec": { "defaultBackend": { "service": { "name": "web", "port": { "number": 80 } } } },
    }))?;
    let api: Api<Ingress> = Api::namespaced(cluster.client.clone(), "default");
    let created = api.create(&PostParams::default(), &object).await?;
    Ok((ObjectRef::new(Kind::Ingress, "default", name), created.uid().context("it has a uid")?))
}

fn tell(cluster: &Cluster, problems: Vec<Problem>, uids: &BTreeMap<ObjectRef, String>) {
    cluster.report.publish(Report { problems, uids: uids.clone(), ..Report::default() });
}

async fn ours(cluster: &Cluster) -> Result<Vec<Event>> {
    let all: Api<Event> = Api::all(cluster.client.clone());
    let found = all.list(&ListParams::default()).await?;
    Ok(found.into_iter().filter(|event| event.reporting_controller.as_deref() == Some("edgelb")).collect())
}

pub(super) async fn there_are(cluster: &Cluster, count: usize) -> Result<Vec<Event>> {
    let start = Instant::now();
    loop {
        let found = ours(cluster).await?;
        if found.len() == count {
            return Ok(found);
        }
        ensure!(start.elapsed() < PATIENCE, "{} Events, not {count}: {found:#?}", found.len());
        sleep(Duration::from_millis(20)).await;
    }
}

fn event_writes(cluster: &Cluster) -> Result<Vec<(String, u16)>> {
    let writes = cluster.control_plane.writes()?;
    let events = writes.into_iter().filter(|write| write.resource == "events");
    Ok(events.map(|write| (write.verb, write.code)).collect())
}

/// The words of `kubectl describe`, with its columns run together.
pub(super) fn describe(cluster: &Cluster, what: &[&str]) -> Result<String> {
    let output = Command::new(program("kubectl")?)
        .arg("--kubeconfig")
        .arg(cluster.control_plane.kubeconfig())
        .arg("describe")
        .args(what)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn describe_shows_what_is_wrong() -> Result<()> {
    let cluster = Cluster::start(&[]).await?;
    let (object, uid) = ingress(&cluster, "web").await?;
    tell(
        &cluster,
        vec![problem(&object, "Service default/web does not exist")],
        &BTreeMap::from([(object, uid)]),
    );
    let _agent = cluster.agent("edge-1").await?;
    there_are(&cluster, 1).await?;
    let text = describe(&cluster, &["ingress", "web"])?;
    let (_, events) = text.split_once("Events:").context("it has Events")?;
    let expected = "spec.rules[0].http.paths[0].backend.service.name: Service default/web does not exist";
    ensure!(events.contains("Warning BackendUnavailable") && events.contains("edgelb"), "{events}");
    ensure!(events.contains(expected), "{events}");
    Ok(())
}

/// Neither a change of something else, nor a restart, nor a new leader tells it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_problem_is_told_once() -> Result<()> {
    let cluster = Cluster::start(&[]).await?;
    let (one, uid) = ingress(&cluster, "one").await?;
    let (other, other_uid) = ingress(&cluster, "other").await?;
    let uids = BTreeMap::from([(one.clone(), uid), (other.clone(), other_uid)]);
    tell(&cluster, vec![problem(&one, "a"), problem(&one, "b")], &uids);
    let agent = cluster.agent("edge-1").await?;
    there_are(&cluster, 2).await?;
    // Gone, and back; and another one.
    tell(&cluster, vec![problem(&one, "b")], &uids);
    sleep(Duration::from_millis(300)).await;
    tell(&cluster, vec![problem(&one, "a"), problem(&one, "b"), problem(&other, "a")], &uids);
    let told = there_are(&cluster, 3).await?;
    assert_eq!(event_writes(&cluster)?, vec![("create".to_owned(), 201); 3]);

    agent.stop().await?;
    let _second = cluster.agent("edge-2").await?;
    let start = Instant::now();
    while event_writes(&cluster)?.len() < 6 {
        ensure!(start.elapsed() < PATIENCE, "the new leader looks whether it is told");
        sleep(Duration::from_millis(20)).await;
    }
    sleep(Duration::from_secs(1)).await;
    let writes = event_writes(&cluster)?;
    assert_eq!(writes[3..], vec![("create".to_owned(), 409); 3], "it finds them");
    assert_eq!(ours(&cluster).await?, told);
    Ok(())
}

/// What the leader alone sees of a Node is told there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_rows_diverge_hears_of_it() -> Result<()> {
    let names = ["edge-1", "edge-2", "edge-3"];
    let cluster = Cluster::start(&names).await?;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let mut node = Node::default();
    node.metadata.name = Some("edge-3".to_owned());
    let uid = nodes.create(&PostParams::default(), &node).await?.uid().context("it has a uid")?;
    cluster.change_nodes(|nodes| nodes[2].uid = uid);
    let mut agents = Vec::new();
    for name in names {
        agents.push(cluster.agent(name).await?);
    }
    let number = cluster.settled(&names).await?;
    agents[2].freeze().await;
    // Its own may be older by a step.
    let membership = Mark { number, step: Step::Settled, oldest: number };
    agents[2].loaded.send_replace(Loaded { generation: 1, membership, rows: Some(666), ..Loaded::default() });
    let events = there_are(&cluster, 1).await?;
    assert_eq!(events[0].namespace().as_deref(), Some("default"));
    let text = describe(&cluster, &["node", "edge-3"])?;
    ensure!(text.contains("Warning RowsDiverge") && text.contains("table of members differs"), "{text}");
    Ok(())
}
