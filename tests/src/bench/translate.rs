//! `cargo xtask bench translate`: what a change costs from the index to the published proxy, within one process: a host
//! that is added, an endpoint, a renewed certificate; and the first state of all.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use lb_agent::l7::{Bind, Config, Proxy};
use lb_agent::metrics::Metrics;
use lb_agent::model::{ListenerProtocol, Origin, Snapshot};
use lb_agent::source::{Index, Object, Settings, Translator};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::report::{Report, Row, median, millis};
use crate::proc;

/// Ingresses, each with a host and a TLS Secret of its own.
const SIZES: [usize; 3] = [100, 1_000, 10_000];

/// Ingresses to a Service, and endpoints of a Service.
const SHARE: usize = 10;
const ENDPOINTS: usize = 20;

/// Changes of each kind.
const CHANGES: usize = 200;

/// 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600;

/// Measures.
///
/// # Errors
/// If a certificate cannot be made, or the proxy does not start.
pub fn run() -> Result<Report> {
    let mut report = Report::new("translate");
    for size in SIZES {
        let mut agent = Agent::new(size)?;
        let case = format!("{size} Ingresses");
        let mut row = |subject: &str, value, unit| report.rows.push(Row::new(&case, subject, value, unit));
        let first = agent.start()?;
        row("objects into the index", millis(first.applied), "ms");
        row("first state", millis(first.translated), "ms");
        row("first publish", millis(first.published), "ms");
        let mut timed = |subject: &str, times: Vec<Duration>| {
            let mut times: Vec<f64> = times.into_iter().map(millis).collect();
            times.sort_unstable_by(f64::total_cmp);
            row(&format!("{subject}, p99"), times[times.len() * 99 / 100], "ms");
            row(&format!("{subject}, median"), median(times), "ms");
        };
        let added = (size..size + CHANGES).map(|number| agent.add(number)).collect::<Result<_>>()?;
        timed("a host is added", added);
        timed("an endpoint changes", (0..CHANGES).map(|version| agent.move_endpoint(version)).collect());
        let renewed = (0..CHANGES).map(|number| agent.renew(number)).collect::<Result<_>>()?;
        timed("a certificate is renewed", renewed);
        row("resident memory of all this", agent.resident()?, "MiB");
    }
    Ok(report)
}

/// The stages of an agent that an object passes.
struct Agent {
    size: usize,
    index: Index,
    translator: Translator,
    proxy: Proxy,
    last: Snapshot,
    /// KiB, before there were objects.
    resident: f64,
}

/// How long the parts of the start took.
struct Start {
    applied: Duration,
    translated: Duration,
    published: Duration,
}

impl Agent {
    fn new(size: usize) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let standalone = [(address, ListenerProtocol::Https)].into();
        let metrics = Metrics::new(&mut Registry::default());
        let proxy = Proxy::start(Config::new(1, Bind::Addresses(vec![address])), metrics)?;
        proxy.listen(&[])?;
        Ok(Self {
            size,
            index: Index::default(),
            translator: Translator::new(Settings { standalone, ..Settings::default() }),
            proxy,
            last: Snapshot::default(),
            resident: resident()?,
        })
    }

    fn start(&mut self) -> Result<Start> {
        let services = self.size.div_ceil(SHARE);
        let mut objects: Vec<Object> = vec![class()?];
        for number in 0..services {
            objects.extend([service(number)?, slice(number, 0)?]);
        }
        for number in 0..self.size {
            objects.extend([ingress(number, services)?, secret(number)?]);
        }
        let before = Instant::now();
        objects.into_iter().for_each(|object| _ = self.index.apply(object, Origin::Api));
        let applied = before.elapsed();
        let before = Instant::now();
        let snapshot = self.translator.translate(&mut self.index, NOW);
        let translated = before.elapsed();
        let before = Instant::now();
        self.proxy.publish(&snapshot);
        let published = before.elapsed();
        self.last = snapshot;
        Ok(Start { applied, translated, published })
    }

    fn add(&mut self, number: usize) -> Result<Duration> {
        let objects = [secret(number)?, ingress(number, self.size.div_ceil(SHARE))?];
        Ok(self.follow(objects))
    }

    fn move_endpoint(&mut self, version: usize) -> Duration {
        let number = version % self.size.div_ceil(SHARE);
        slice(number, version + 1).map_or_else(|_| Duration::ZERO, |slice| self.follow([slice]))
    }

    fn renew(&mut self, number: usize) -> Result<Duration> {
        let secret = secret(number % self.size)?;
        Ok(self.follow([secret]))
    }

    /// Objects that changed together, until requests meet the new state.
    fn follow(&mut self, objects: impl IntoIterator<Item = Object>) -> Duration {
        let before = Instant::now();
        objects.into_iter().for_each(|object| _ = self.index.apply(object, Origin::Api));
        let snapshot = self.translator.translate(&mut self.index, NOW);
        assert!(snapshot != self.last, "nothing changed");
        self.proxy.publish(&snapshot);
        self.last = snapshot;
        before.elapsed()
    }

    fn resident(&self) -> Result<f64> {
        Ok((resident()? - self.resident) / 1_024.0)
    }
}

/// This process's memory, KiB.
fn resident() -> Result<f64> {
    Ok(proc::resident_kib(std::process::id())? as f64)
}

fn name(number: usize) -> String {
    format!("app-{number}")
}

fn metadata(number: usize) -> Value {
    let uid = format!("00000000-0000-4000-8000-{number:012}");
    json!({"name": name(number), "namespace": "bench", "uid": uid, "creationTimestamp": "2026-01-01T00:00:00Z"})
}

fn class() -> Result<Object> {
    let class = json!({"metadata": {"name": "edgelb"}, "spec": {"controller": "edgelb.dev/ingress"}});
    Ok(serde_json::from_value::<IngressClass>(class)?.into())
}

fn service(number: usize) -> Result<Object> {
    let spec = json!({"ports": [{"name": "http", "port": 80}]});
    let service = json!({"metadata": metadata(number), "spec": spec});
    Ok(serde_json::from_value::<Service>(service)?.into())
}

/// A version, up to 255, of a Service's slice: one endpoint of it moves.
fn slice(number: usize, version: usize) -> Result<Object> {
    let endpoints: Vec<_> = (0..ENDPOINTS)
        .map(|endpoint| {
            let moved = if endpoint == 0 { version } else { 0 };
            let address = format!("198.18.{}.{}", moved, endpoint + 1);
            json!({"addresses": [address], "conditions": {"ready": true}})
        })
        .collect();
    let mut metadata = metadata(number);
    metadata["labels"] = json!({"kubernetes.io/service-name": name(number)});
    let slice = json!({
        "metadata": metadata,
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": endpoints,
    });
    Ok(serde_json::from_value::<EndpointSlice>(slice)?.into())
}

fn host(number: usize) -> String {
    format!("app-{number}.example.org")
}

fn ingress(number: usize, services: usize) -> Result<Object> {
    let backend = json!({"service": {"name": name(number % services), "port": {"number": 80}}});
    let spec = json!({
        "ingressClassName": "edgelb",
        "tls": [{"hosts": [host(number)], "secretName": name(number)}],
        "rules": [{"host": host(number), "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": backend},
            {"path": "/api", "pathType": "Prefix", "backend": backend},
        ]}}],
    });
    Ok(serde_json::from_value::<Ingress>(json!({"metadata": metadata(number), "spec": spec}))?.into())
}

fn secret(number: usize) -> Result<Object> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec![host(number)])?.self_signed(&key)?;
    let secret = json!({
        "metadata": metadata(number),
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": certificate.pem(), "tls.key": key.serialize_pem()},
    });
    let mut secret: Secret = serde_json::from_value(secret)?;
    let data = secret.string_data.take().into_iter().flatten();
    secret.data = Some(data.map(|(key, text)| (key, k8s_openapi::ByteString(text.into_bytes()))).collect());
    Ok(secret.into())
}
