//! What the agent itself writes, and what becomes of it when its rights are taken away.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use lb_agent::api::owns_status;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::process::Agent;
use super::requests::Requests;
use super::site::{HOST, Site, ingress};
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
        let writes = site.control_plane.writes_so_far();
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

/// Another controller's Ingresses, even with our VIP in their status, are its own; what we wrote while one was ours is
/// given up when it is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_wrote_stays_and_what_is_not_ours_any_more_is_given_up() -> Result<()> {
    let site = Site::start().await?;
    site.with_vip().await?;
    let other = json!({"metadata": {"name": "other"}, "spec": {"controller": "example.org/other"}});
    site.create::<IngressClass>(None, other).await?;
    let mut theirs = ingress("theirs", "theirs.example.org", None);
    theirs["spec"]["ingressClassName"] = json!("other");
    site.create::<Ingress>(Some("shop"), theirs).await?;
    let ingresses: Api<Ingress> = Api::namespaced(site.client.clone(), "shop");
    let written = json!({"status": {"loadBalancer": {"ingress": [{"ip": VIP}]}}});
    let as_other = PatchParams { field_manager: Some("other".to_owned()), ..PatchParams::default() };
    ingresses.patch_status("theirs", &as_other, &Patch::Merge(written)).await?;
    site.ingress("shop", "moved", "moved.example.org", None).await?;

    let agent = site.agent(&[])?;
    let requests = Requests::start(agent.http, HOST);
    site.all_written(&agent, PATIENCE).await?;
    let class = json!({"spec": {"ingressClassName": "other"}});
    ingresses.patch("moved", &PatchParams::default(), &Patch::Merge(class)).await?;
    let start = Instant::now();
    while site.without_address().await? == 0 {
        ensure!(start.elapsed() < PATIENCE, "it is not given up:\n{}", agent.log());
        sleep(Duration::from_millis(50)).await;
    }
    let moved = ingresses.get("moved").await?;
    ensure!(!owns_status(&moved.metadata), "{:?}", moved.metadata.managed_fields);
    // As often as the leader looks without a change, and once more.
    sleep(Duration::from_secs(11)).await;
    let of = |name: &str| {
        let writes = site.control_plane.writes();
        writes.map(|writes| {
            writes.iter().filter(|write| write.name == name && write.resource == "ingresses/status").count()
        })
    };
    assert_eq!((of("theirs")?, of("moved")?), (1, 2), "theirs by its own controller; ours there and back");
    ensure!(site.without_address().await? == 1, "theirs has its address");
    requests.all_answered()
}
