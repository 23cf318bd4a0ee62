//! What the tests serve: a control plane with a faulty way to it, a backend, and objects that lead there.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, Resource};
use lb_tests::backend;
use lb_tests::cluster::{ControlPlane, Fault, Login, Options};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::Agent;

/// The host that is there from the start.
pub(super) const HOST: &str = "shop.example.org";

/// Its Secret.
pub(super) const TLS: &str = "shop-tls";

const NAMESPACE: &str = "shop";

/// A cluster with the host, and room for an agent.
pub(super) struct Site {
    pub(super) control_plane: ControlPlane,
    pub(super) fault: Fault,
    pub(super) client: Client,
    pub(super) folder: TempDir,
    backend: SocketAddr,
}

impl Site {
    pub(super) async fn start() -> Result<Self> {
        Self::start_with(Options::default()).await
    }

    pub(super) async fn start_with(options: Options) -> Result<Self> {
        let control_plane = tokio::task::block_in_place(|| ControlPlane::start_with(options))?;
        let fault = Fault::before(&control_plane)?;
        let client = control_plane.client().await?;
        let site = Self {
            control_plane,
            fault,
            client,
            folder: TempDir::new()?,
            backend: backend::start_for_api()?,
        };
        site.create::<Namespace>(None, json!({"metadata": {"name": NAMESPACE}})).await?;
        let class = json!({"metadata": {"name": "edgelb"}, "spec": {"controller": "edgelb.dev/ingress"}});
        site.create::<IngressClass>(None, class).await?;
        site.expose(NAMESPACE).await?;
        site.certificate(NAMESPACE, TLS, &[HOST]).await?;
        site.ingress(NAMESPACE, "shop", HOST, Some(TLS)).await?;
        Ok(site)
    }

    /// A kubeconfig by way of the faulty proxy.
    pub(super) fn kubeconfig(&self) -> Result<PathBuf> {
        let login = Login::Token(self.control_plane.admin_token()?);
        self.control_plane.write_kubeconfig("agent", &self.fault.url(), &login)
    }

    /// An agent that is ready.
    pub(super) fn agent(&self, flags: &[&str]) -> Result<Agent> {
        let agent = Agent::start(&self.kubeconfig()?, self.folder.path(), flags)?;
        agent.await_ready()?;
        Ok(agent)
    }

    /// The Service `web` of a namespace, with the backend behind it.
    pub(super) async fn expose(&self, namespace: &str) -> Result<()> {
        let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"name": "http", "port": 80}]}});
        self.create::<Service>(Some(namespace), service).await?;
        let slice = json!({
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": if self.backend.is_ipv4() { "IPv4" } else { "IPv6" },
            "ports": [{"name": "http", "port": self.backend.port()}],
            "endpoints": [{"addresses": [self.backend.ip().to_string()], "conditions": {"ready": true}}],
        });
        self.create::<EndpointSlice>(Some(namespace), slice).await
    }

    pub(super) async fn ingress(
        &self,
        namespace: &str,
        name: &str,
        host: &str,
        tls: Option<&str>,
    ) -> Result<()> {
        let ingress = ingress(name, host, tls);
        self.create::<Ingress>(Some(namespace), ingress).await
    }

    /// A Secret with a new certificate for these names; the leaf in DER.
    pub(super) async fn certificate(&self, namespace: &str, name: &str, hosts: &[&str]) -> Result<Vec<u8>> {
        let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(hosts)?;
        let data = json!({"tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem()});
        let secret = json!({"metadata": {"name": name}, "type": "kubernetes.io/tls", "stringData": data});
        self.create::<Secret>(Some(namespace), secret).await?;
        Ok(made.cert.der().to_vec())
    }

    pub(super) async fn create<K>(&self, namespace: Option<&str>, object: Value) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
    {
        let mut object: K = serde_json::from_value(object)?;
        object.meta_mut().namespace = namespace.map(str::to_owned);
        let path = K::url_path(&(), namespace);
        let request =
            kube::core::Request::new(path).create(&PostParams::default(), serde_json::to_vec(&object)?)?;
        self.client.request::<K>(request).await.with_context(|| format!("creating {object:?}"))?;
        Ok(())
    }

    pub(super) async fn delete_ingress(&self, name: &str) -> Result<()> {
        let api: Api<Ingress> = Api::namespaced(self.client.clone(), NAMESPACE);
        api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    pub(super) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }
}

/// An Ingress of our class for one host.
pub(super) fn ingress(name: &str, host: &str, tls: Option<&str>) -> Value {
    let backend = json!({"service": {"name": "web", "port": {"name": "http"}}});
    let tls: Vec<_> = tls.map(|secret| json!({"hosts": [host], "secretName": secret})).into_iter().collect();
    json!({
        "metadata": {"name": name},
        "spec": {
            "ingressClassName": "edgelb",
            "tls": tls,
            "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
        },
    })
}
