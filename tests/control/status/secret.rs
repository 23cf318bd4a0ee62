//! The Secret of the flow hash.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use tokio::time::sleep;

use super::cluster::{Cluster, NAMESPACE, PATIENCE};

async fn flow(secrets: &Api<Secret>) -> Result<Vec<u8>> {
    let start = Instant::now();
    loop {
        let data = secrets.get("edgelb-keys").await?.data.unwrap_or_default();
        if let Some(flow) = data.get("flow").filter(|flow| !flow.0.is_empty()) {
            return Ok(flow.0.clone());
        }
        ensure!(start.elapsed() < PATIENCE, "nobody fills the Secret");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_fills_it_once_and_never_makes_it() -> Result<()> {
    let cluster = Cluster::start(&[]).await?;
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let first = cluster.agent("edge-1").await?;
    let _other = cluster.agent("edge-2").await?;
    cluster.led_by(&["edge-1", "edge-2"]).await?;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(secrets.get_opt("edgelb-keys").await?, None);

    let shipped: Secret = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "edgelb-keys" }, "type": "Opaque",
    }))?;
    secrets.create(&PostParams::default(), &shipped).await?;
    let key = flow(&secrets).await?;
    assert_eq!(key.len(), 32);
    ensure!(key.iter().any(|byte| *byte != key[0]), "{key:?} is not random");

    first.stop().await?;
    cluster.led_by(&["edge-2"]).await?;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(flow(&secrets).await?, key);
    let writes = cluster.control_plane.writes()?;
    let writes = writes.iter().filter(|write| write.resource == "secrets" && write.namespace == NAMESPACE);
    let verbs: Vec<_> = writes.map(|write| write.verb.as_str()).collect();
    assert_eq!(verbs, ["create", "update"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_there_stays() -> Result<()> {
    let cluster = Cluster::start(&[]).await?;
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let given: Secret = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "edgelb-keys" },
        "stringData": { "flow": "given by an operator, long enough" },
    }))?;
    let given = secrets.create(&PostParams::default(), &given).await?;
    let _agent = cluster.agent("edge-1").await?;
    cluster.led_by(&["edge-1"]).await?;
    sleep(Duration::from_secs(1)).await;
    let found = secrets.get("edgelb-keys").await?;
    assert_eq!(found.metadata.resource_version, given.metadata.resource_version);
    found.data.context("it has data")?;
    Ok(())
}
