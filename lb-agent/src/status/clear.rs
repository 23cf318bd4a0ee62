//! The way out: takes back what agents wrote to the cluster.

use std::fmt;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::error::{Remedy, StatusError, ask};
use super::lease::{AgentState, NodeLease};
use super::names;
use crate::api::{EdgeMembership, MANAGER, owns_status};

/// Nothing else waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Objects in one answer.
const PAGE: u32 = 500;

/// What was taken back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cleared {
    /// Services and Ingresses that have our addresses no more: `Ingress shop/web`.
    pub objects: Vec<String>,
    /// Whether there was a history of memberships.
    pub membership: bool,
    /// Leases that are gone, by name.
    pub leases: Vec<String>,
    /// Nodes whose agents did not say that they stopped: they would write it all again.
    pub running: Vec<String>,
}

impl fmt::Display for Cleared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for object in &self.objects {
            writeln!(f, "removed: addresses of {object}")?;
        }
        if self.membership {
            writeln!(f, "removed: EdgeMembership {}", EdgeMembership::NAME)?;
        }
        for lease in &self.leases {
            writeln!(f, "removed: Lease {lease}")?;
        }
        for node in &self.running {
            writeln!(
                f,
                "warning: the agent of Node {node} did not say that it stopped: if it runs, it writes again"
            )?;
        }
        if *self == Self::default() {
            writeln!(f, "nothing to remove")?;
        }
        Ok(())
    }
}

/// Takes back addresses of Services and Ingresses, the history of memberships and the Leases in `namespace`. Stop the
/// agents before. What others wrote stays, and doing it twice does no harm.
///
/// # Errors
/// The first that the API server refuses, or does not answer.
pub async fn clear(client: Client, namespace: &str) -> Result<Cleared, StatusError> {
    let mut cleared = Cleared::default();
    release::<Service>(&client, "v1", "Service", &mut cleared.objects).await?;
    release::<Ingress>(&client, "networking.k8s.io/v1", "Ingress", &mut cleared.objects).await?;
    let histories: Api<EdgeMembership> = Api::all(client.clone());
    cleared.membership = delete(&histories, EdgeMembership::NAME).await?;
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let of_nodes = ListParams::default().labels(names::NODE_LABEL);
    for lease in ask(PATIENCE, leases.list(&of_nodes)).await? {
        cleared.running.extend(running(&lease));
        if delete(&leases, &lease.name_any()).await? {
            cleared.leases.push(lease.name_any());
        }
    }
    if delete(&leases, names::LEADER).await? {
        cleared.leases.push(names::LEADER.to_owned());
    }
    Ok(cleared)
}

fn running(lease: &Lease) -> Option<String> {
    NodeLease::read(lease).filter(|lease| lease.state != AgentState::Stopped).map(|lease| lease.node)
}

/// Gives up the addresses of all objects of a kind: what no field manager wants any more, the server removes.
async fn release<K>(
    client: &Client,
    api_version: &str,
    kind: &str,
    released: &mut Vec<String>,
) -> Result<(), StatusError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned,
{
    let all: Api<K> = Api::all(client.clone());
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let found = ask(PATIENCE, all.list_metadata(&page)).await?;
        page.continue_token = found.metadata.continue_.clone().filter(|token| !token.is_empty());
        for object in found.iter().filter(|object| owns_status(&object.metadata)) {
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            let api: Api<K> = Api::namespaced(client.clone(), &namespace);
            let nothing = json!({
                "apiVersion": api_version, "kind": kind, "metadata": { "namespace": namespace, "name": name },
            });
            let params = PatchParams::apply(MANAGER).force();
            let patch = Patch::Apply(nothing);
            match ask(PATIENCE, api.patch_status(&name, &params, &patch)).await {
                Ok(_) => released.push(format!("{kind} {namespace}/{name}")),
                Err(error) if error.remedy() == Remedy::Missing => {}
                Err(error) => return Err(error),
            }
        }
        if page.continue_token.is_none() {
            return Ok(());
        }
    }
}

/// Whether there was something to delete.
async fn delete<K>(api: &Api<K>, name: &str) -> Result<bool, StatusError>
where
    K: Clone + fmt::Debug + DeserializeOwned,
{
    match ask(PATIENCE, api.delete(name, &DeleteParams::default())).await {
        Ok(_) => Ok(true),
        Err(error) if error.remedy() == Remedy::Missing => Ok(false),
        Err(error) => Err(error),
    }
}
