//! `spec.tls` -> certificates by host, with what deserves a look about them.

use std::sync::Arc;

use k8s_openapi::api::networking::v1::{Ingress, IngressTLS};
use k8s_openapi::jiff::Timestamp;

use crate::model::{Certificate, HostPattern, Kind, ObjectRef, Problem};
use crate::source::{Index, Settings};

/// The certificate that an Ingress wants for a host.
#[derive(Clone, Debug)]
pub(super) struct HostCertificate {
    /// The host, or `Any` for a section that names none.
    pub(super) host: HostPattern,
    /// The certificate.
    pub(super) certificate: Arc<Certificate>,
    /// The section: `spec.tls[0]`.
    pub(super) field: String,
}

/// The certificates of one Ingress. A section without a Secret leaves the choice to the default certificate.
pub(super) fn translate(
    name: &ObjectRef,
    ingress: &Ingress,
    index: &Index,
    now: i64,
    problems: &mut Vec<Problem>,
) -> Vec<HostCertificate> {
    let sections = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten()).enumerate();
    let mut certificates = Vec::new();
    for (at, section) in sections {
        let Some(secret) = section.secret_name.as_deref().filter(|name| !name.is_empty()) else { continue };
        let secret = ObjectRef::new(Kind::Secret, name.namespace.as_str(), secret);
        let field = format!("spec.tls[{at}]");
        let Some(certificate) = load(name, &format!("{field}.secretName"), &secret, index, now, problems)
        else {
            continue;
        };
        for host in hosts(name, &field, section, problems) {
            check_covers(name, &field, &host, &certificate, problems);
            certificates.push(HostCertificate {
                host,
                certificate: Arc::clone(&certificate),
                field: field.clone(),
            });
        }
    }
    certificates
}

/// The operator's certificate for hosts that no section names.
pub(super) fn default(
    index: &Index,
    settings: &Settings,
    now: i64,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Certificate>> {
    let (namespace, name) = settings.default_certificate.as_ref()?;
    let secret = ObjectRef::new(Kind::Secret, namespace.as_str(), name.as_str());
    match index.certificate(&secret) {
        None => {
            problems.push(Problem::error(&secret, "", "the default certificate's Secret does not exist"));
            None
        }
        Some(_) => load(&secret, "", &secret, index, now, problems),
    }
}

/// The certificate of a Secret that `user` names at `field`; both hear of it if there is none.
fn load(
    user: &ObjectRef,
    field: &str,
    secret: &ObjectRef,
    index: &Index,
    now: i64,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Certificate>> {
    match index.certificate(secret) {
        None => {
            problems.push(Problem::error(user, field, format!("{secret} does not exist")));
            None
        }
        Some(Err(error)) => {
            problems.push(Problem::error(secret, error.field(), error.to_string()));
            if user != secret {
                problems.push(Problem::error(
                    user,
                    field,
                    format!("{secret} holds no usable certificate: {error}"),
                ));
            }
            None
        }
        Some(Ok(certificate)) => {
            if certificate.not_after < now {
                let end = Timestamp::from_second(certificate.not_after)
                    .map_or_else(|_| "long ago".into(), |end| end.to_string());
                problems.push(Problem::warning(
                    user,
                    field,
                    format!("the certificate in {secret} expired at {end}"),
                ));
            }
            Some(Arc::clone(certificate))
        }
    }
}

fn hosts(
    name: &ObjectRef,
    field: &str,
    section: &IngressTLS,
    problems: &mut Vec<Problem>,
) -> Vec<HostPattern> {
    let listed = section.hosts.as_deref().unwrap_or_default();
    if listed.is_empty() {
        return vec![HostPattern::Any];
    }
    let mut hosts = Vec::new();
    for (at, host) in listed.iter().enumerate() {
        match HostPattern::parse(host) {
            Ok(HostPattern::Any) => {
                problems.push(Problem::error(name, format!("{field}.hosts[{at}]"), "the host is empty"));
            }
            Ok(host) => hosts.push(host),
            Err(error) => {
                problems.push(Problem::error(name, format!("{field}.hosts[{at}]"), error.to_string()))
            }
        }
    }
    hosts
}

fn check_covers(
    name: &ObjectRef,
    field: &str,
    host: &HostPattern,
    certificate: &Certificate,
    problems: &mut Vec<Problem>,
) {
    if !certificate.dns_names.iter().any(|dns_name| covers(dns_name, host)) {
        let names = certificate.dns_names.join(", ");
        let message =
            format!("the certificate in {} does not cover {host}, but only: {names}", certificate.secret);
        problems.push(Problem::warning(name, field, message));
    }
}

/// A name of a certificate covers a host if it is the same, or the wildcard for the host's first label.
fn covers(dns_name: &str, host: &HostPattern) -> bool {
    let wildcard = dns_name.strip_prefix("*.");
    match host {
        HostPattern::Any => true,
        HostPattern::Wildcard(parent) => wildcard == Some(parent),
        HostPattern::Precise(host) => {
            dns_name == host
                || (wildcard.is_some() && host.split_once('.').map(|(_, parent)| parent) == wildcard)
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};

    use super::*;
    use crate::model::KeyKind;
    use crate::source::translate::fixture::{EDGE, assert_complaints, snapshot};

    fn pair(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(names).expect("a certificate");
        (cert.pem(), signing_key.serialize_pem())
    }

    fn secret(name: &str, kind: &str, data: &[(&str, &str)]) -> String {
        let data: String =
            data.iter().map(|(key, value)| format!("  {key}: {}\n", serde_json::json!(value))).collect();
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: {kind}\nstringData:\n{data}"
        )
    }

    fn tls_secret(name: &str, pair: &(String, String)) -> String {
        secret(name, "kubernetes.io/tls", &[("tls.crt", &pair.0), ("tls.key", &pair.1)])
    }

    fn ingress(name: &str, tls: &str) -> String {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\n\
             spec: {{ingressClassName: edgelb, rules: [{{host: x.org}}], tls: [{tls}]}}\n"
        )
    }

    /// Certificates as `host secret,secret`.
    #[track_caller]
    fn check(yaml: &str, settings: &Settings, expected: &[&str], problems: &[&str]) {
        let snapshot = snapshot(&format!("{EDGE}{yaml}"), settings);
        let table = &snapshot.listeners.values().next().expect("a listener").routes;
        let found: Vec<String> = table
            .certificates
            .iter()
            .map(|(host, all)| {
                let names: Vec<_> = all.iter().map(|certificate| certificate.secret.name.as_str()).collect();
                format!("{host} {}", names.join(","))
            })
            .collect();
        assert_eq!(found, expected);
        assert_complaints(&snapshot, problems);
    }

    #[test]
    fn certificates_stand_under_their_hosts() {
        let yaml = tls_secret("cert", &pair(&["x.org", "*.x.org"]))
            + &ingress(
                "web",
                "{secretName: cert, hosts: [X.org, '*.x.org', a.x.org]}, {secretName: cert}, {hosts: [y.org]}",
            );
        check(&yaml, &Settings::default(), &["a.x.org cert", "x.org cert", "*.x.org cert", "* cert"], &[]);
    }

    #[test]
    fn what_deserves_a_look_is_served_all_the_same() {
        let mut params = CertificateParams::new(["x.org".to_owned()]).expect("names");
        params.not_after = date_time_ymd(2025, 6, 1);
        let key = KeyPair::generate().expect("a key");
        let old = params.self_signed(&key).expect("a certificate");
        let yaml = tls_secret("old", &(old.pem(), key.serialize_pem()))
            + &ingress("web", "{secretName: old, hosts: [x.org, y.org, '*.x.org']}");
        check(
            &yaml,
            &Settings::default(),
            &["x.org old", "y.org old", "*.x.org old"],
            &[
                "warning: Ingress default/web: spec.tls[0]: the certificate in Secret default/old does not cover *.x.org",
                "warning: Ingress default/web: spec.tls[0]: the certificate in Secret default/old does not cover y.org",
                "warning: Ingress default/web: spec.tls[0].secretName: the certificate in Secret default/old expired at 2025-06-01",
            ],
        );
    }

    #[test]
    fn unusable_secrets_are_told_of_on_both_sides() {
        let (chain, key) = pair(&["x.org"]);
        let (_, other_key) = pair(&["x.org"]);
        let tls = "kubernetes.io/tls";
        let broken = chain.replace("-----END CERTIFICATE-----", "");
        let no_base64 = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for (kind, data, field, problem) in [
            ("Opaque", [("tls.crt", &*chain), ("tls.key", &*key)], "type", "is of type \"Opaque\""),
            (tls, [("tls.crt", &chain), ("other", "")], "data.tls.key", "the Secret has no \"tls.key\""),
            (tls, [("tls.crt", ""), ("tls.key", &key)], "data.tls.crt", "the Secret has no \"tls.crt\""),
            (
                tls,
                [("tls.crt", "garbage"), ("tls.key", &key)],
                "data.tls.crt",
                "nothing between BEGIN and END",
            ),
            (tls, [("tls.crt", &broken), ("tls.key", &key)], "data.tls.crt", "the END line is missing"),
            (tls, [("tls.crt", no_base64), ("tls.key", &key)], "data.tls.crt", "not base64"),
            (
                tls,
                [("tls.crt", no_der), ("tls.key", &key)],
                "data.tls.crt",
                "the leaf is not an X.509 certificate",
            ),
            (tls, [("tls.crt", &chain), ("tls.key", "garbage")], "data.tls.key", "holds no PEM private key"),
            (
                tls,
                [("tls.crt", &chain), ("tls.key", no_key)],
                "data.tls.key",
                "the key is of a kind that TLS cannot use",
            ),
            (tls, [("tls.crt", &chain), ("tls.key", &other_key)], "data.tls.key", "the key does not belong"),
        ] {
            let yaml = secret("cert", kind, &data) + &ingress("web", "{secretName: cert, hosts: [x.org]}");
            let on_ingress = "error: Ingress default/web: spec.tls[0].secretName: Secret default/cert holds no usable certificate";
            let on_secret = format!("error: Secret default/cert: {field}: ");
            check(&yaml, &Settings::default(), &[], &[on_ingress, &on_secret]);
            check(&yaml, &Settings::default(), &[], &[problem, problem]);
        }
        let missing =
            "error: Ingress default/web: spec.tls[0].secretName: Secret default/cert does not exist";
        check(&ingress("web", "{secretName: cert, hosts: [x.org]}"), &Settings::default(), &[], &[missing]);
    }

    #[test]
    fn unused_secrets_are_nobodys_problem() {
        check(
            &secret("cert", "kubernetes.io/tls", &[("tls.crt", "garbage")]),
            &Settings::default(),
            &[],
            &[],
        );
    }

    #[test]
    fn the_older_ingress_keeps_a_host_for_each_kind_of_key() {
        let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key");
        let params = CertificateParams::new(["x.org".to_owned()]).expect("names");
        let rsa = (params.self_signed(&rsa).expect("a certificate").pem(), rsa.serialize_pem());
        let one = pair(&["x.org"]);
        let section = |secret: &str| format!("{{secretName: {secret}, hosts: [x.org]}}");
        let yaml = tls_secret("one", &one)
            + &tls_secret("copy", &one)
            + &tls_secret("two", &pair(&["x.org"]))
            + &tls_secret("rsa", &rsa)
            + &ingress("a", &section("one"))
            + &ingress("b", &section("two"))
            + &ingress("c", &section("rsa"))
            + &ingress("d", &section("copy"));
        let lost =
            "Ingress default/b: spec.tls[0]: the certificate of host x.org belongs to Ingress default/a";
        check(&yaml, &Settings::default(), &["x.org one,rsa"], &[lost]);
    }

    #[test]
    fn the_default_certificate_is_for_all_hosts() {
        let settings = Settings {
            default_certificate: Some(("default".to_owned(), "fallback".to_owned())),
            ..Settings::default()
        };
        let yaml = tls_secret("cert", &pair(&["x.org"]))
            + &tls_secret("fallback", &pair(&["y.org"]))
            + &ingress("web", "{secretName: cert}, {secretName: cert, hosts: [x.org]}");
        let lost = "Ingress default/web: spec.tls[0]: a section without hosts gives way";
        check(&yaml, &settings, &["x.org cert", "* fallback"], &[lost]);
        check(
            "",
            &settings,
            &[],
            &["error: Secret default/fallback: the default certificate's Secret does not exist"],
        );
        let broken = secret("fallback", "Opaque", &[("a", "b")]);
        check(&broken, &settings, &[], &["error: Secret default/fallback: type: is of type \"Opaque\""]);
    }

    #[test]
    fn certificates_are_read_whole() {
        let (chain, key) = pair(&["X.org", "*.x.org"]);
        let two = format!("{chain}{}", pair(&["ca"]).0);
        let yaml = tls_secret("cert", &(two, key)) + &ingress("web", "{secretName: cert, hosts: [x.org]}");
        let snapshot = snapshot(&format!("{EDGE}{yaml}"), &Settings::default());
        let table = &snapshot.listeners.values().next().expect("a listener").routes;
        let certificate = &table.certificates[&HostPattern::Precise("x.org".to_owned())][0];
        assert_eq!((certificate.chain.len(), certificate.key_kind), (2, KeyKind::Ecdsa));
        assert_eq!(certificate.dns_names, ["x.org", "*.x.org"]);
        assert!(!format!("{snapshot:?}").contains(&format!("{:?}", certificate.key.0)), "keys never show");
    }
}
