//! What the agent itself writes, and what becomes of it when its rights are taken away.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::process::Agent;
use super::requests::Requests;
use super::site::{HOST, Site};
use super::{PATIENCE, refused};
use crate::kinds::create_kinds;

pub(super) const VIP: &str = "203.0.113.10";

impl Site {
    /// Our kinds, our namespace, and the Service that has the VIP.
    pub(super) async fn with_vip(&self) -> Result<()> {
        create_kinds(&self.client).await?;
        self.create::<Namespace>(None, json!({"metadata": {"name": "edgelb-system"}})).await?;
        let service = json!({
            "metadata": {"name": "edgelb", "annotations": {"edgelb.dev/vips": VIP}},
            "spec": {
                "type": "LoadBalancer", "loadBalancerClass": "edgelb.dev/ingress", "ports": [{"port": 80}],
                "allocateLoadBalancerNodePorts": false,
            },
        });
        self.create::<Service>(Some("edgelb-system"), service).await
    }

    /// How many Ingresses have no address yet.
    pub(super) async fn without_address(&self) -> Result<usize> {
        let found = Api::<Ingress>::all(self.client.clone()).list(&ListParams::default()).await?;
        let has = |ingress: &Ingress| serde_json::to_value(&ingress.status).is_ok_and(|it| is_written(&it));
        Ok(found.items.iter().filter(|ingress| !has(ingress)).count())
    }

    /// Waits until all Ingresses have their address.
    pub(super) async fn all_written(&self, agent: &Agent, patience: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            let asked = Instant::now();
            let left = self.without_address().await?;
            if left == 0 {
                return Ok(());
            }
            ensure!(start.elapsed() < patience, "{left} have no address:\n{}", agent.log());
            // A list of thousands is work for everybody.
            sleep(Duration::from_millis(100).max(asked.elapsed() * 5)).await;
        }
    }
}

fn is_written(status: &Value) -> bool {
    status["loadBalancer"]["ingress"] == json!([{ "ip": VIP }])
}

/// The rights to write that the shipped role has.
fn role() -> Value {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    json!({"metadata": {"name": "writer"}, "rules": [
        rule("", &["services/status"], &["patch"]),
        rule("networking.k8s.io", &["ingresses/status"], &["patch"]),
        rule("edgelb.dev", &["edgememberships"], &["create", "update"]),
        rule("edgelb.dev", &["edgememberships/status"], &["update"]),
        rule("coordination.k8s.io", &["leases"], &["get", "list", "watch", "create", "update"]),
        rule("events.k8s.io", &["events"], &["create", "patch"]),
    ]})
}

fn binding() -> Value {
    let mut binding = refused::binding();
    binding["metadata"]["name"] = json!("writer");
    binding["roleRef"]["name"] = json!("writer");
    binding
}

/// Reading goes on, requests too, the server is not asked in vain all the time, and nothing that was to be written is
/// lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_to_write_may_be_taken_away_and_given_back() -> Result<()> {
    let site = Site::start().await?;
    site.with_vip().await?;
    site.create::<ServiceAccount>(Some("shop"), json!({"metadata": {"name": "agent"}})).await?;
    for role in [refused::role(), role()] {
        site.create::<ClusterRole>(None, role).await?;
    }
    for binding in [refused::binding(), binding()] {
        site.create::<ClusterRoleBinding>(None, binding).await?;
    }
    let agent = site.agent_as_account("token").await?;
    let requests = Requests::start(agent.http, HOST);
    site.all_written(&agent, PATIENCE).await?;

    let bindings: Api<ClusterRoleBinding> = Api::all(site.client.clone());
    bindings.delete("writer", &DeleteParams::default()).await?;
    let refused = || {
        let writes = site.control_plane.writes();
        writes.map(|writes| writes.iter().filter(|write| write.code == 403).count())
    };
    for number in 0..50 {
        site.ingress("shop", &format!("n{number}"), &format!("n{number}.example.org"), None).await?;
    }
    agent.await_status("n49.example.org", 200)?;
    let start = Instant::now();
    while refused()? == 0 {
        ensure!(start.elapsed() < PATIENCE, "nothing is refused:\n{}", agent.log());
        sleep(Duration::from_millis(100)).await;
    }
    // Longer than its office lasts without a renewal.
    sleep(Duration::from_secs(15)).await;
    let count = refused()?;
    ensure!(count < 150, "{count} refusals in 15 s");
    let told = agent.log().matches("WARN").count();
    // Of the Lease, the history, the addresses, and the watch of Leases.
    ensure!(told <= 6, "{told} warnings:\n{}", agent.log());
    ensure!(site.without_address().await? > 0, "some are left to be written");

    site.create::<ClusterRoleBinding>(None, binding()).await?;
    site.all_written(&agent, PATIENCE * 2).await?;
    requests.all_answered()
}
