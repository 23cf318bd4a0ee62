//! The API server answers, but not as one would wish: 401, 403, 429, 500.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use lb_tests::cluster::{Login, Matching};
use serde_json::json;

use super::process::Agent;
use super::requests::Requests;
use super::site::{HOST, Site};
use super::until;

/// The last state stays; each kind is told of once; what changed is live when the refusals end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_stop_nothing() -> Result<()> {
    let site = Site::start().await?;
    let agent = site.agent(&[])?;
    agent.await_status(HOST, 200)?;
    let requests = Requests::start(agent.http, HOST);
    for (status, condition) in [
        (401, "unauthorized"),
        (403, "forbidden"),
        (429, "throttled"),
        (500, "server_error"),
        (503, "server_error"),
    ] {
        site.fault.answer(Matching::all(), status);
        site.fault.cut();
        let ingresses = format!("lb_source_watch{{kind=\"Ingress\",condition=\"{condition}\"}}");
        until(&format!("{status} shows"), || agent.metric(&ingresses).is_ok_and(|value| value == 1.0))?;
        let (ready, text) = agent.ready()?;
        ensure!(ready == 200 && text.contains(&format!("({condition})")), "{text}");
        let (name, host) = (format!("n{status}"), format!("n{status}.example.org"));
        site.ingress("shop", &name, &host, None).await?;
        ensure!(agent.status_of(&host) == 404, "nobody told the agent");
        site.fault.heal();
        agent.await_status(&host, 200)?;
        until("everything is followed", || {
            agent.ready().is_ok_and(|(_, text)| !text.contains("not followed"))
        })?;
    }
    let told = agent.log().matches("reason=throttled").count();
    ensure!(told <= 11, "told once a kind, not {told} times:\n{}", agent.log());
    requests.all_answered()
}

/// Rights that the shipped role has, and no more: for watching what the agent watches.
pub(super) fn role() -> serde_json::Value {
    let read = |groups: &str, resources: &[&str]| json!({"apiGroups": [groups], "resources": resources, "verbs": ["get", "list", "watch"]});
    json!({"metadata": {"name": "agent"}, "rules": [
        read("", &["nodes", "services", "secrets", "configmaps", "namespaces"]),
        read("discovery.k8s.io", &["endpointslices"]),
        read("networking.k8s.io", &["ingresses", "ingressclasses"]),
        read("edgelb.dev", &["ingressparameters", "edgememberships"]),
    ]})
}

/// Of the agent's account to it.
pub(super) fn binding() -> serde_json::Value {
    json!({
        "metadata": {"name": "agent"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "agent"},
        "subjects": [{"kind": "ServiceAccount", "name": "agent", "namespace": "shop"}],
    })
}

impl Site {
    async fn grant(&self) -> Result<()> {
        self.create::<ServiceAccount>(Some("shop"), json!({"metadata": {"name": "agent"}})).await?;
        self.create::<ClusterRole>(None, role()).await?;
        self.create::<ClusterRoleBinding>(None, binding()).await
    }

    /// A token of the agent's account that is void when this Secret is gone.
    async fn token(&self, bound_to: &str) -> Result<String> {
        self.create::<Secret>(Some("shop"), json!({"metadata": {"name": bound_to}})).await?;
        let uid = self.secrets().get(bound_to).await?.metadata.uid;
        let spec: TokenRequestSpec = serde_json::from_value(json!({
            "audiences": [], "expirationSeconds": 600,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": bound_to, "uid": uid},
        }))?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), "shop");
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = accounts.create_token_request("agent", &PostParams::default(), &request).await?;
        answer.status.and_then(|status| status.token).context("a token")
    }

    /// An agent with the rights of its account.
    pub(super) async fn agent_as_account(&self, bound_to: &str) -> Result<Agent> {
        self.agent_with(&Login::Token(self.token(bound_to).await?))
    }

    fn agent_with(&self, login: &Login) -> Result<Agent> {
        let kubeconfig = self.control_plane.write_kubeconfig("account", &self.fault.url(), login)?;
        let agent = Agent::start(&kubeconfig, self.folder.path(), &[])?;
        agent.await_status(HOST, 200)?;
        Ok(agent)
    }
}

/// A role is taken away and given back, on the server itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_may_be_taken_away_and_given_back() -> Result<()> {
    let site = Site::start().await?;
    site.grant().await?;
    let agent = site.agent_as_account("token").await?;
    let requests = Requests::start(agent.http, HOST);
    let bindings: Api<ClusterRoleBinding> = Api::all(site.client.clone());
    bindings.delete("agent", &DeleteParams::default()).await?;
    // Watches that stand go on: the server looks at rights when they begin.
    site.fault.cut();
    until("the agent says so", || {
        agent.ready().is_ok_and(|(status, text)| status == 200 && text.contains("(forbidden): ConfigMap"))
    })?;
    site.ingress("shop", "new", "new.example.org", None).await?;
    site.create::<ClusterRoleBinding>(None, binding()).await?;
    agent.await_status("new.example.org", 200)?;
    requests.all_answered()
}

/// A token ends and another one takes its place in the file, as in a pod: it is read again within a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_token_is_taken_up() -> Result<()> {
    let site = Site::start().await?;
    site.grant().await?;
    let file = site.folder.path().join("token");
    std::fs::write(&file, site.token("first").await?)?;
    let agent = site.agent_with(&Login::TokenFile(file.clone()))?;
    let requests = Requests::start(agent.http, HOST);
    std::fs::write(&file, site.token("second").await?)?;
    site.secrets().delete("first", &DeleteParams::default()).await?;
    // The server remembers for 10 s that the first one was good.
    std::thread::sleep(Duration::from_secs(11));
    site.fault.cut();
    // After the cut: no watch that the first token began tells of it.
    site.ingress("shop", "new", "new.example.org", None).await?;
    let mut cut = Instant::now();
    until("the first token is refused, or the second one taken", || {
        // Not at each look: on a busy machine no answer would come in between.
        if cut.elapsed() > Duration::from_secs(5) {
            site.fault.cut();
            cut = Instant::now();
        }
        agent.ready().is_ok_and(|(_, text)| text.contains("(unauthorized)"))
            || agent.status_of("new.example.org") == 200
    })?;
    for _ in 0..3 {
        if agent.await_status("new.example.org", 200).is_ok() {
            break;
        }
    }
    ensure!(agent.status_of("new.example.org") == 200, "{}", agent.log());
    requests.all_answered()
}
