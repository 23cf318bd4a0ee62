//! The way out leaves nothing of ours, and all of others'.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use lb_agent::model::{Kind, ObjectRef, Published, Report};
use lb_agent::status::{Cleared, clear};
use serde_json::json;
use tokio::time::sleep;

use super::cluster::{Cluster, NAMESPACE, PATIENCE};

fn ingress(name: &str) -> Ingress {
    serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": name },
        "spec": { "defaultBackend": { "service": { "name": "web", "port": { "number": 80 } } } },
    }))
    .expect("an Ingress")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_agents_wrote_is_taken_back() -> Result<()> {
    let cluster = Cluster::start(&["edge-1"]).await?;
    let api: Api<Ingress> = Api::namespaced(cluster.client.clone(), "default");
    for name in ["ours", "theirs"] {
        api.create(&PostParams::default(), &ingress(name)).await?;
    }
    let theirs = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "198.51.100.99" }] } } });
    api.patch_status("theirs", &PatchParams::default(), &Patch::Merge(theirs)).await?;
    let ours = ObjectRef::new(Kind::Ingress, "default", "ours");
    let published = Published { wanted: Some(Arc::from(["203.0.113.10".parse()?])), is_current: false };
    let addresses = BTreeMap::from([(ours, published)]);
    cluster.report.publish(Report { addresses, ..Report::default() });

    let agent = cluster.agent("edge-1").await?;
    cluster.settled(&["edge-1"]).await?;
    let has_address = async |name: &str| {
        let status = api.get(name).await?.status.and_then(|status| status.load_balancer);
        anyhow::Ok(status.and_then(|balancer| balancer.ingress).is_some_and(|listed| !listed.is_empty()))
    };
    let start = Instant::now();
    while !has_address("ours").await? {
        ensure!(start.elapsed() < PATIENCE, "it has no address");
        sleep(Duration::from_millis(20)).await;
    }
    agent.stop().await?;
    ensure!(has_address("ours").await?, "a stop empties nothing");

    let cleared = clear(cluster.client.clone(), NAMESPACE).await?;
    let expected = "removed: addresses of Ingress default/ours\nremoved: EdgeMembership edgelb\n\
                    removed: Lease edgelb-node-edge-1\nremoved: Lease edgelb-leader\n";
    assert_eq!(cleared.to_string(), expected);
    ensure!(!has_address("ours").await? && has_address("theirs").await?);
    let managers = api.get("ours").await?.metadata.managed_fields.unwrap_or_default();
    ensure!(!managers.iter().any(|entry| entry.manager.as_deref() == Some("edgelb")), "{managers:?}");
    assert_eq!(cluster.history().await?, None);
    assert_eq!(cluster.leases().list(&ListParams::default()).await?.items.len(), 0);

    let again = clear(cluster.client.clone(), NAMESPACE).await?;
    assert_eq!((again.to_string().as_str(), again), ("nothing to remove\n", Cleared::default()));
    Ok(())
}

/// Somebody forgot to stop the agents.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_run_are_named() -> Result<()> {
    let cluster = Cluster::start(&["edge-1"]).await?;
    let _agent = cluster.agent("edge-1").await?;
    cluster.settled(&["edge-1"]).await?;
    let cleared = clear(cluster.client.clone(), NAMESPACE).await?;
    assert_eq!(cleared.running, ["edge-1"]);
    ensure!(cleared.to_string().contains("the agent of Node edge-1 did not say that it stopped"));
    Ok(())
}
