//! Objects as users write them, read from a folder, translated, and served: each Service that is asked for by a
//! backend that tells what came to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use k8s_openapi::ByteString;
use lb_agent::l7::{Bind, Config, Proxy};
use lb_agent::metrics::Metrics;
use lb_agent::model::{ListenerProtocol, Snapshot};
use lb_agent::source::{self, Settings};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::backend::{Backend, Body, text};
use super::client::{Answer, Http};
use super::fixture::metric;

const HTTP: &str = "127.0.0.1:0";
const HTTPS: &str = "127.0.0.2:0";

/// The class of Ingresses that name none.
const CLASS: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata:
  name: edgelb
  annotations: {ingressclass.kubernetes.io/is-default-class: \"true\"}
spec: {controller: edgelb.dev/ingress}
";

/// A folder's objects at work.
pub(crate) struct Site {
    /// What is wrong with the objects, as `lb-agent check` says it but for the file.
    pub(crate) problems: Vec<String>,
    pub(crate) proxy: Proxy,
    registry: Registry,
    backends: Vec<Backend>,
    folder: TempDir,
    snapshot: Snapshot,
}

/// A request as its backend got it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    pub(crate) service: String,
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
}

impl Site {
    /// Serves these documents. Each service is `(name, ports, pods)`, a port `name:number` or a number.
    pub(crate) async fn start(documents: &str, services: &[(&'static str, &[&str], usize)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut backends = Vec::new();
        for &(name, ports, pods) in services {
            let of_service = backends.len();
            for _ in 0..pods {
                backends.push(Backend::start(move |request| async move { echo(name, &request) }).await);
            }
            let endpoints = backends[of_service..].iter().map(|backend| backend.address);
            write(folder.path(), &format!("service-{name}.json"), &service(name, ports, endpoints));
        }
        write(folder.path(), "class.yaml", CLASS);
        write(folder.path(), "documents.yaml", documents);
        let config = Config::new(1, Bind::Addresses(vec![key(HTTP), key(HTTPS)]));
        let mut registry = Registry::default();
        let proxy = Proxy::start(config, Metrics::new(&mut registry)).expect("proxy starts");
        proxy.listen(&[]).expect("it listens");
        let mut site =
            Self { problems: Vec::new(), proxy, registry, backends, folder, snapshot: Snapshot::default() };
        site.publish();
        site
    }

    /// Writes a file, in place of one of this name, and serves what the folder says then.
    pub(crate) fn change(&mut self, name: &str, text: &str) {
        write(self.folder.path(), name, text);
        self.publish();
    }

    fn publish(&mut self) {
        let listeners = [(HTTP, ListenerProtocol::Http), (HTTPS, ListenerProtocol::Https)];
        let standalone = listeners.map(|(address, protocol)| (key(address), protocol)).into();
        let settings = Settings { standalone, ..Settings::default() };
        let mut snapshot = source::files::read(self.folder.path(), &settings).expect("the folder is there");
        let problems = snapshot.problems.iter().map(|problem| {
            let problem = lb_agent::model::Problem { origin: None, ..problem.clone() };
            problem.to_string()
        });
        self.problems = problems.collect();
        snapshot.generation = self.snapshot.generation + 1;
        self.proxy.publish(&snapshot);
        self.snapshot = snapshot;
    }

    /// The state that is served.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.bound(HTTP)
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.bound(HTTPS)
    }

    /// The value of a metric's line, named with its labels.
    pub(crate) fn metric(&self, line: &str) -> u64 {
        metric(&self.registry, line)
    }

    /// Sends a request; `Err` with the status if no backend got it.
    pub(crate) async fn ask(&self, method: &str, host: &str, path: &str) -> Result<Asked, StatusCode> {
        Self::told(Http::one(self.http()).await.send(request(method, host, path)).await)
    }

    /// What the backend tells that answered.
    pub(crate) fn told(answer: Answer) -> Result<Asked, StatusCode> {
        if answer.status != StatusCode::OK {
            return Err(answer.status);
        }
        let told: Value = serde_json::from_slice(&answer.body).expect("a backend's answer");
        let field = |name: &str| told[name].as_str().expect("text").to_owned();
        Ok(Asked {
            service: field("service"),
            method: field("method"),
            host: field("host"),
            path: field("path"),
        })
    }

    /// Checks who gets a GET, and that it arrives as it was sent: a service's name, or a status.
    pub(crate) async fn check(&self, host: &str, path: &str, expected: Result<&str, u16>) {
        let expected = expected.map(|service| Asked {
            service: service.to_owned(),
            method: "GET".to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
        });
        let found = self.ask("GET", host, path).await.map_err(|status| status.as_u16());
        assert_eq!(found, expected, "{host} {path}");
    }

    /// How many requests each pod got, in order of the services.
    pub(crate) fn requests(&self) -> Vec<usize> {
        self.backends.iter().map(Backend::requests).collect()
    }

    fn bound(&self, address: &str) -> SocketAddr {
        let all = self.proxy.bound_addresses();
        all.iter().find(|(configured, _)| *configured == key(address)).expect("it is bound").1
    }
}

fn key(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

fn request(
    method: &str,
    host: &str,
    path: &str,
) -> Request<http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>> {
    let method: Method = method.parse().expect("a method");
    let request = Request::builder().method(method).uri(path).header("host", host);
    request.body(Empty::new().boxed_unsync()).expect("a request")
}

fn echo(service: &str, request: &Request<Incoming>) -> Response<Body> {
    let host = request.headers().get("host").map_or("", |host| host.to_str().expect("ASCII"));
    let told = json!({
        "service": service,
        "method": request.method().as_str(),
        "host": host,
        "path": request.uri().path_and_query().map_or("", |path| path.as_str()),
    });
    Response::new(text(told.to_string()))
}

/// A Service, and the slices of its pods: one for each, since their ports differ here.
fn service(name: &str, ports: &[&str], endpoints: impl Iterator<Item = SocketAddr>) -> String {
    let ports = ports.iter().map(|port| port.split_once(':').unwrap_or(("", port)));
    let ports: Vec<(&str, u16)> =
        ports.map(|(name, number)| (name, number.parse().expect("a number"))).collect();
    let listed = ports.iter().map(|(name, number)| json!({"name": name, "port": number}));
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": listed.collect::<Vec<_>>()},
    });
    let slice = |(number, endpoint): (usize, SocketAddr)| {
        let listed = ports.iter().map(|(name, _)| json!({"name": name, "port": endpoint.port()}));
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{name}-{number}"), "labels": {"kubernetes.io/service-name": name}},
            "ports": listed.collect::<Vec<_>>(),
            "endpoints": [{"addresses": [endpoint.ip().to_string()]}],
        })
    };
    let items: Vec<_> = std::iter::once(service).chain(endpoints.enumerate().map(slice)).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// A Secret with a self-signed certificate, and the certificate.
pub(crate) fn tls_secret(name: &str, host: &str) -> (String, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate");
    let bytes = |pem: String| ByteString(pem.into_bytes());
    let data = BTreeMap::from([
        ("tls.crt", bytes(made.cert.pem())),
        ("tls.key", bytes(made.signing_key.serialize_pem())),
    ]);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name}, "data": data,
    });
    (secret.to_string(), made.cert.der().to_vec())
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("the folder can be written");
}
