//! Endpoints that have to prove who they are, and that ask us.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};

use super::support::{Backend, Http, Shop, Site, Speaks, text};

/// An authority.
struct Authority {
    pem: String,
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that one has signed, in PEM, and its key.
struct Signed {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { pem: certificate.pem(), certificate, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, name: &str, set: impl FnOnce(&mut CertificateParams)) -> Signed {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        set(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Signed { certificate, key }
    }
}

/// A pod with this certificate, which asks clients for one of these authorities, if there are any.
async fn pod(signed: &Signed, clients: Option<&Authority>) -> Backend {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone());
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate.der().clone()).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let key = PrivateKeyDer::try_from(signed.key.serialize_der()).expect("a key");
    let config = config.with_single_cert(vec![signed.certificate.der().clone()], key).expect("a certificate");
    let speaks = Speaks { http2: false, tls: Some(Arc::new(config).into()) };
    Backend::speaking(speaks, |_| async { http::Response::new(text("pod")) }).await
}

/// A Secret with these texts.
fn secret(name: &str, authority: Option<&str>, pair: Option<&Signed>) -> Value {
    let mut data = serde_json::Map::new();
    data.extend(authority.map(|pem| ("ca.crt".to_owned(), json!(pem))));
    if let Some(signed) = pair {
        data.insert("tls.crt".to_owned(), json!(signed.certificate.pem()));
        data.insert("tls.key".to_owned(), json!(signed.key.serialize_pem()));
    }
    let kind = if pair.is_some() { "kubernetes.io/tls" } else { "Opaque" };
    json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name}, "stringData": data})
}

/// Endpoints are spoken to over TLS, and as these annotations say besides.
fn shop(annotations: &[(&str, &str)]) -> Shop {
    let spoken = ("edgelb.dev/backend-protocol", "HTTPS");
    let all = annotations.iter().chain([&spoken]);
    let ingress: serde_json::Map<_, _> = all.map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    Shop { ingress: ingress.into(), ..Shop::default() }
}

/// The file with the Secret, if there is one.
const SECRET: &str = "secret.json";

async fn open(shop: &Shop, secret: Option<&Value>, pods: &[&Backend]) -> Site {
    let mut site = Site::start("", &[]).await;
    if let Some(secret) = secret {
        site.change(SECRET, &secret.to_string());
    }
    shop.tell(&mut site, pods);
    site
}

async fn status(site: &Site) -> u16 {
    Http::get(site.http(), "a", "/").await.status.as_u16()
}

fn failures(site: &Site, reason: &str) -> u64 {
    site.metric(&format!("lb_l7_upstream_tls_failures_total{{reason=\"{reason}\"}}"))
}

const TRUST: (&str, &str) = ("edgelb.dev/backend-tls", "ca=trust");

#[tokio::test]
async fn only_who_can_prove_it_gets_requests() {
    let (authority, other) = (Authority::new(), Authority::new());
    let name = "shop.default.svc";
    let past = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    for (signed, expected) in [
        (authority.sign(name, |_| {}), Ok(())),
        (other.sign(name, |_| {}), Err("untrusted")),
        (authority.sign("else.default.svc", |_| {}), Err("name")),
        (authority.sign(name, past), Err("expired")),
    ] {
        let pod = pod(&signed, None).await;
        let site = open(&shop(&[TRUST]), Some(&secret("trust", Some(&authority.pem), None)), &[&pod]).await;
        assert_eq!(site.problems, Vec::<String>::new());
        match expected {
            Ok(()) => assert_eq!(status(&site).await, 200),
            Err(reason) => {
                assert_eq!((status(&site).await, pod.requests()), (502, 0), "{reason}");
                assert_eq!(failures(&site, reason), 1, "{reason}");
            }
        }
        // By default nobody has to prove anything.
        assert_eq!(status(&open(&shop(&[]), None, &[&pod]).await).await, 200);
    }
}

#[tokio::test]
async fn a_name_may_be_given_and_other_authorities_too() {
    let (authority, next) = (Authority::new(), Authority::new());
    let (first, second) = (authority.sign("b.org", |_| {}), next.sign("b.org", |_| {}));
    let (first, second) = (pod(&first, None).await, pod(&second, None).await);
    let named = shop(&[("edgelb.dev/backend-tls", "ca=trust, server-name=b.org")]);
    let mut site = open(&named, Some(&secret("trust", Some(&authority.pem), None)), &[&first]).await;
    assert_eq!(status(&site).await, 200);
    // The Secret changes, and with it who is trusted.
    let both = [authority.pem.as_str(), &next.pem].concat();
    site.change(SECRET, &secret("trust", Some(&both), None).to_string());
    named.tell(&mut site, &[&second]);
    assert_eq!(status(&site).await, 200);
    site.change(SECRET, &secret("trust", Some(&authority.pem), None).to_string());
    assert_eq!((status(&site).await, failures(&site, "untrusted")), (502, 1));
}

#[tokio::test]
async fn who_asks_is_shown_a_certificate() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = authority.sign("shop.default.svc", |_| {});
    let pod = pod(&server, Some(&clients)).await;
    let ours = clients.sign("edge.example.org", |_| {});
    let both = secret("both", Some(&authority.pem), Some(&ours));
    for annotations in [
        &[("edgelb.dev/backend-tls", "ca=both, client-certificate=both")][..],
        &[
            ("nginx.ingress.kubernetes.io/proxy-ssl-secret", "default/both"),
            ("nginx.ingress.kubernetes.io/proxy-ssl-verify", "on"),
        ],
    ] {
        let site = open(&shop(annotations), Some(&both), &[&pod]).await;
        assert_eq!((site.problems.clone(), status(&site).await), (vec![], 200), "{annotations:?}");
    }
    let site = open(&shop(&[("edgelb.dev/backend-tls", "ca=both")]), Some(&both), &[&pod]).await;
    assert_eq!(status(&site).await, 502);
}

#[tokio::test]
async fn what_is_to_be_trusted_has_to_be_there() {
    let authority = Authority::new();
    let pod = pod(&authority.sign("shop.default.svc", |_| {}), None).await;
    let mut site = open(&shop(&[TRUST]), None, &[&pod]).await;
    let said = site.problems.join("\n");
    assert!(said.contains("Secret default/trust does not exist"), "{said}");
    assert_eq!((status(&site).await, pod.connections()), (503, 0));
    site.change(SECRET, &secret("trust", Some(&authority.pem), None).to_string());
    assert_eq!((site.problems.clone(), status(&site).await), (vec![], 200));
}
