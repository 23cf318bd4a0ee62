//! The objects of the benchmark: Ingresses with a host and a TLS Secret each, spread over Services with many
//! endpoints. The first endpoint of each Service is the one backend; the others are unready, and only there to be read.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Where all of them are.
const NAMESPACE: &str = "bench";

/// Ingresses to a Service.
const SHARE: usize = 10;

/// Endpoints of a Service.
const ENDPOINTS: usize = 20;

/// Requests under way at once.
const CONCURRENCY: usize = 32;

/// Changes of endpoints under way at once, so that a slow answer does not slow the rate.
const CHURNING: usize = 8;

pub(super) struct Objects {
    /// How many Ingresses there were at first.
    pub(super) size: usize,
    services: usize,
    backend: SocketAddr,
}

/// The host of an Ingress.
pub(super) fn host(number: usize) -> String {
    format!("app-{number}.example.org")
}

impl Objects {
    /// Makes all of them.
    pub(super) async fn create(client: &Client, size: usize, backend: SocketAddr) -> Result<Self> {
        let this = Self { size, services: size.div_ceil(SHARE), backend };
        let namespace = json!({ "metadata": { "name": NAMESPACE } });
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &typed(namespace)?).await?;
        let class =
            json!({ "metadata": { "name": "edgelb" }, "spec": { "controller": "edgelb.dev/ingress" } });
        Api::<IngressClass>::all(client.clone()).create(&PostParams::default(), &typed(class)?).await?;
        let services = (0..this.services).map(service);
        create_all::<Service>(client, services).await?;
        let slices = (0..this.services).map(|number| this.slice(number, 0));
        create_all::<EndpointSlice>(client, slices).await?;
        this.add(client, 0, size).await?;
        Ok(this)
    }

    /// Adds Ingresses from `first` on, their Secrets before them.
    pub(super) async fn add(&self, client: &Client, first: usize, count: usize) -> Result<()> {
        let numbers = first..first + count;
        create_all::<Secret>(client, numbers.clone().map(secret).collect::<Result<Vec<_>>>()?).await?;
        create_all::<Ingress>(client, numbers.map(|number| self.ingress(number))).await
    }

    /// How long the lists take a client that does nothing else.
    pub(super) async fn list(&self, client: &Client) -> Result<Duration> {
        let started = Instant::now();
        list::<Service>(client).await?;
        list::<EndpointSlice>(client).await?;
        list::<Ingress>(client).await?;
        list::<Secret>(client).await?;
        Ok(started.elapsed())
    }

    /// Changes EndpointSlices at a steady rate.
    pub(super) async fn churn(&self, client: &Client, per_second: u32, time: Duration) -> Result<()> {
        let api: &Api<EndpointSlice> = &Api::namespaced(client.clone(), NAMESPACE);
        let mut clock = tokio::time::interval(Duration::from_secs(1) / per_second);
        let count = (time.as_secs_f64() * f64::from(per_second)) as usize;
        let ticks = stream::unfold((0, &mut clock), |(number, clock)| async move {
            clock.tick().await;
            Some((number, (number + 1, clock)))
        });
        let changes = ticks.take(count).map(|number| async move {
            let slice = self.slice(number % self.services, 1 + number);
            let patch = Patch::Merge(json!({ "endpoints": slice["endpoints"] }));
            api.patch(&name(number % self.services), &PatchParams::default(), &patch).await.map(drop)
        });
        Ok(changes.buffer_unordered(CHURNING).try_collect().await?)
    }

    fn ingress(&self, number: usize) -> Value {
        let host = host(number);
        let backend =
            json!({ "service": { "name": name(number % self.services), "port": { "number": 80 } } });
        json!({
            "metadata": { "name": name(number) },
            "spec": {
                "ingressClassName": "edgelb",
                "tls": [{ "hosts": [host], "secretName": name(number) }],
                "rules": [{ "host": host, "http": { "paths": [
                    { "path": "/", "pathType": "Prefix", "backend": backend },
                    { "path": "/api", "pathType": "Prefix", "backend": backend },
                ] } }],
            },
        })
    }

    /// A version of a Service's EndpointSlice: one of its unready endpoints takes turns in being ready.
    fn slice(&self, number: usize, version: usize) -> Value {
        let live = json!({ "addresses": [self.backend.ip().to_string()], "conditions": { "ready": true } });
        let unready = (1..ENDPOINTS).map(|endpoint| {
            let address = format!("198.51.100.{}", (endpoint + version) % 250 + 1);
            json!({ "addresses": [address], "conditions": { "ready": false } })
        });
        let endpoints: Vec<_> = [live].into_iter().chain(unready).collect();
        json!({
            "metadata": { "name": name(number), "labels": { "kubernetes.io/service-name": name(number) } },
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": self.backend.port() }],
            "endpoints": endpoints,
        })
    }
}

fn name(number: usize) -> String {
    format!("app-{number}")
}

/// Headless: the control plane has not so many cluster IPs.
fn service(number: usize) -> Value {
    let ports = json!([{ "name": "http", "port": 80 }]);
    json!({ "metadata": { "name": name(number) }, "spec": { "clusterIP": "None", "ports": ports } })
}

fn secret(number: usize) -> Result<Value> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec![host(number)])?.self_signed(&key)?;
    Ok(json!({
        "metadata": { "name": name(number) },
        "type": "kubernetes.io/tls",
        "stringData": { "tls.crt": certificate.pem(), "tls.key": key.serialize_pem() },
    }))
}

async fn create_all<K>(client: &Client, objects: impl IntoIterator<Item = Value>) -> Result<()>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let api: &Api<K> = &Api::namespaced(client.clone(), NAMESPACE);
    let requests = stream::iter(objects).map(|object| async move {
        api.create(&PostParams::default(), &typed(object)?).await?;
        anyhow::Ok(())
    });
    requests.buffer_unordered(CONCURRENCY).try_collect().await
}

async fn list<K>(client: &Client) -> Result<()>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    Api::<K>::all(client.clone()).list(&ListParams::default()).await?;
    Ok(())
}

fn typed<K: DeserializeOwned>(object: Value) -> Result<K> {
    Ok(serde_json::from_value(object)?)
}
