//! Tables of what answers where no Ingress says who does.

use crate::model::{Listener, TlsVersion};
use crate::source::Settings;
use crate::source::translate::fixture::{assert_complaints, snapshot};

/// The classes `open` (which is older) and `shut`, each with parameters of its name; `plain` without. The VIP .10 is
/// that of `public`; `shut` alone has .20.
const CLASSES: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: open, creationTimestamp: '2024-01-01T00:00:00Z'}
spec: {controller: edgelb.dev/ingress, parameters: {apiGroup: edgelb.dev, kind: IngressParameters, name: open}}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: shut, creationTimestamp: '2025-01-01T00:00:00Z'}
spec: {controller: edgelb.dev/ingress, parameters: {apiGroup: edgelb.dev, kind: IngressParameters, name: shut}}
---
apiVersion: v1
kind: Service
metadata: {name: public, namespace: edge, annotations: {edgelb.dev/vips: 203.0.113.10}}
spec: {type: LoadBalancer, loadBalancerClass: edgelb.dev/ingress, ports: [{port: 443}]}
---
apiVersion: v1
kind: Service
metadata: {name: private, namespace: edge, annotations: {edgelb.dev/vips: 203.0.113.20}}
spec: {type: LoadBalancer, loadBalancerClass: edgelb.dev/ingress, ports: [{port: 443}]}
---
{apiVersion: v1, kind: Service, metadata: {name: sorry, namespace: site}, spec: {ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: other, namespace: site}, spec: {ports: [{port: 81}]}}
---
";

const PLAIN: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: plain, creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {controller: edgelb.dev/ingress}
---
";

const PRIVATE: &str = "services: [{namespace: edge, name: private}]";

fn parameters(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: edgelb.dev/v1alpha1\nkind: IngressParameters\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n"
    )
}

/// A Secret in the namespace `site` with a certificate of this kind of key.
fn secret(name: &str, is_rsa: bool) -> String {
    let algorithm = if is_rsa { &rcgen::PKCS_RSA_SHA256 } else { &rcgen::PKCS_ECDSA_P256_SHA256 };
    let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
    let params = rcgen::CertificateParams::new(["x.org".to_owned()]).expect("names");
    let made = params.self_signed(&key).expect("a certificate");
    let data = serde_json::json!({"tls.crt": made.pem(), "tls.key": key.serialize_pem()});
    format!(
        "{{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {{name: {name}, namespace: site}}, stringData: {data}}}\n---\n"
    )
}

fn ingress(class: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: web, namespace: site}}, spec: {{ingressClassName: {class}, {spec}}}}}\n---\n"
    )
}

fn certificate(secret: &str) -> String {
    format!("defaultCertificate: {{namespace: site, name: {secret}}}")
}

fn backend(service: &str, port: &str) -> String {
    format!("defaultBackend: {{namespace: site, name: {service}, port: {{{port}}}}}")
}

/// Per listener: the Secrets for hosts without one, and the Service for requests that nothing matches.
#[track_caller]
fn check(yaml: &str, operator: Option<&str>, expected: [&str; 2], problems: &[&str]) {
    let default_certificate = operator.map(|name| ("site".to_owned(), name.to_owned()));
    let settings = Settings { default_certificate, ..Settings::default() };
    let snapshot = snapshot(&format!("{CLASSES}{yaml}"), &settings);
    let shown: Vec<String> = snapshot
        .listeners
        .values()
        .map(|listener| {
            let certificates = listener.routes.certificates.get(&crate::model::HostPattern::Any);
            let secrets = certificates.into_iter().flat_map(|all| all.iter());
            let secrets: Vec<_> = secrets.map(|certificate| certificate.secret.name.as_str()).collect();
            let backend = listener.routes.default_backend.as_ref().map(|default| &default.backend);
            let backend = backend.map_or("-".to_owned(), |backend| backend.id.to_string());
            format!("{} {backend}", secrets.join(","))
        })
        .collect();
    assert_eq!(shown, expected);
    assert_complaints(&snapshot, problems);
}

#[test]
fn a_class_comes_before_the_operator() {
    let secrets = [secret("flag", false), secret("own", false), secret("rsa", true)].concat();
    let with = |open: &str, shut: &str| {
        parameters("open", open) + &parameters("shut", &format!("{PRIVATE}, {shut}")) + &secrets
    };
    check(&with("", ""), Some("flag"), ["flag -", "flag -"], &[]);
    check(&with("", &certificate("own")), Some("flag"), ["flag -", "own -"], &[]);
    check(&with(&certificate("own"), ""), Some("flag"), ["own -", "flag -"], &[]);
    check(&with(&certificate("rsa"), ""), Some("flag"), ["rsa -", "flag -"], &[]);
    check(&with(&certificate("own"), ""), None, ["own -", " -"], &[]);
}

#[test]
fn classes_that_share_listeners_agree_by_age() {
    let secrets = [secret("flag", true), secret("one", false), secret("two", false)].concat();
    let both = parameters("open", &format!("{}, {}", certificate("one"), backend("sorry", "number: 80")))
        + &parameters("shut", &format!("{}, {}", certificate("two"), backend("other", "number: 81")))
        + &secrets;
    let losers = [
        "warning: IngressParameters shut: spec.defaultCertificate: on listeners in common, the default certificate of IngressParameters open counts",
        "warning: IngressParameters shut: spec.defaultBackend: IngressClass shut has listeners in common with open",
    ];
    let shared = "one site/sorry:80";
    check(&both, Some("flag"), [shared; 2], &losers);
    // A third class, without a certificate of its own, brings in the operator's: of another kind of key.
    let three = format!("{PLAIN}{both}");
    check(&three, Some("flag"), ["one,flag site/sorry:80"; 2], &losers);
}

#[test]
fn an_ingress_decides_for_itself() {
    let yaml = parameters("open", &format!("{}, {}", certificate("own"), backend("sorry", "name: http")))
        + &parameters("shut", PRIVATE)
        + &secret("own", false)
        + &secret("mine", false);
    check(&yaml, None, ["own site/sorry:http", " -"], &[]);
    let own = ingress(
        "open",
        "defaultBackend: {service: {name: other, port: {number: 81}}}, tls: [{secretName: mine}]",
    );
    let gives_way = "error: Ingress site/web: spec.tls[0]: a section without hosts gives way to the default certificate of IngressParameters open";
    check(&(yaml.clone() + &own), None, ["own site/other:81", " -"], &[gives_way]);
    // Of a class that has other listeners: nothing of it is seen on these.
    let elsewhere = ingress("shut", "defaultBackend: {service: {name: other, port: {number: 81}}}");
    check(&(yaml + &elsewhere), None, ["own site/sorry:http", " site/other:81"], &[]);
}

#[test]
fn what_cannot_be_had_is_told_of_the_parameters() {
    let with = |spec: &str| parameters("open", spec) + &parameters("shut", PRIVATE) + &secret("flag", false);
    let at = "error: IngressParameters open: spec.";
    for (spec, expected, problem) in [
        (certificate("gone"), "flag -", "defaultCertificate: Secret site/gone does not exist"),
        (certificate("''"), "flag -", "defaultCertificate.name: is empty: the setting has no effect"),
        (
            backend("gone", "number: 80"),
            "flag site/gone:80",
            "defaultBackend.name: Service site/gone does not exist: requests get 503",
        ),
        (
            backend("sorry", "number: 81"),
            "flag site/sorry:81",
            "defaultBackend.port: Service site/sorry has no TCP port 81",
        ),
        (backend("''", "number: 80"), "flag -", "defaultBackend.name: is empty"),
        (backend("sorry", ""), "flag -", "defaultBackend.port: is missing: give its name or number"),
    ] {
        check(&with(&spec), Some("flag"), [expected, "flag -"], &[&format!("{at}{problem}")]);
    }
}

#[test]
fn the_oldest_class_says_what_handshakes_may_agree_on() {
    let policies = |yaml: &str| {
        let snapshot = snapshot(&format!("{CLASSES}{yaml}"), &Settings::default());
        let minimal = |listener: &Listener| {
            let policy = listener.routes.tls;
            TlsVersion::ALL.into_iter().find(|version| policy.offers(*version)).map(TlsVersion::label)
        };
        (snapshot.listeners.values().filter_map(minimal).collect::<Vec<_>>(), snapshot)
    };
    let newest = "tls: {minVersion: '1.3'}";
    let (found, snapshot) =
        policies(&(parameters("open", "") + &parameters("shut", &format!("{PRIVATE}, {newest}"))));
    assert_eq!(found, ["1.2", "1.3"]);
    assert_complaints(&snapshot, &[]);
    let (found, snapshot) =
        policies(&(parameters("open", newest) + &parameters("shut", "tls: {minVersion: '1.2'}")));
    assert_eq!(found, ["1.3", "1.3"]);
    let loser = "warning: IngressParameters shut: spec.tls: IngressClass shut has listeners in common with open, which is \
                 older or first by name: there, the TLS policy of IngressParameters open counts";
    assert_complaints(&snapshot, &[loser]);
}

#[test]
fn a_section_without_a_secret_needs_a_default() {
    let web = ingress("open", "rules: [{host: x.org}], tls: [{hosts: [x.org]}]")
        + &parameters("shut", PRIVATE)
        + &secret("own", false);
    let complaint =
        "warning: Ingress site/web: spec.tls[0]: names no Secret, and there is no default certificate";
    check(&(parameters("open", "") + &web), None, [" -", " -"], &[complaint]);
    check(&(parameters("open", "") + &web), Some("own"), ["own -", "own -"], &[]);
    check(&(parameters("open", &certificate("own")) + &web), None, ["own -", " -"], &[]);
}
