//! Tables of which certificate a host gets, and what is said of it.

use k8s_openapi::ByteString;
use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};

use super::*;
use crate::model::KeyKind;
use crate::source::staple::tests::response;
use crate::source::translate::fixture::{EDGE, NOW, assert_complaints, conflicts, index, snapshot};
use crate::source::translate::{Translator, translate};

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
    let certificates = ["a.x.org cert", "x.org cert", "*.x.org cert", "* cert"];
    let self_signed = "warning: Ingress default/web: spec.tls[2]: names no Secret, and there is no default certificate: \
                       where no other Ingress has one for its hosts, clients get a self-signed one";
    check(&yaml, &Settings::default(), &certificates, &[self_signed]);
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
fn a_certificate_of_the_future_is_told_of() {
    let mut params = CertificateParams::new(["x.org".to_owned()]).expect("names");
    (params.not_before, params.not_after) = (date_time_ymd(2030, 1, 2), date_time_ymd(2031, 1, 2));
    let key = KeyPair::generate().expect("a key");
    let early = params.self_signed(&key).expect("a certificate");
    let yaml = tls_secret("early", &(early.pem(), key.serialize_pem()))
        + &ingress("web", "{secretName: early, hosts: [x.org]}");
    let words = "warning: Ingress default/web: spec.tls[0].secretName: the certificate in Secret default/early is not \
                 valid before 2030-01-02T00:00:00Z: clients refuse it";
    check(&yaml, &Settings::default(), &["x.org early"], &[words]);
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
        (tls, [("tls.crt", "garbage"), ("tls.key", &key)], "data.tls.crt", "nothing between BEGIN and END"),
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
    let missing = "error: Ingress default/web: spec.tls[0].secretName: Secret default/cert does not exist";
    check(&ingress("web", "{secretName: cert, hosts: [x.org]}"), &Settings::default(), &[], &[missing]);
}

#[test]
fn unused_secrets_are_nobodys_problem() {
    check(&secret("cert", "kubernetes.io/tls", &[("tls.crt", "garbage")]), &Settings::default(), &[], &[]);
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
    let lost = "Ingress default/b: spec.tls[0]: the certificate of host x.org belongs to Ingress default/a";
    check(&yaml, &Settings::default(), &["x.org one,rsa"], &[lost]);
    let snapshot = snapshot(&format!("{EDGE}{yaml}"), &Settings::default());
    assert_eq!(conflicts(&snapshot), ["Ingress default/b: spec.tls[0]"]);
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
    let certificate =
        &table.certificates.get(&HostPattern::Precise("x.org".to_owned())).expect("a certificate")[0];
    assert_eq!((certificate.chain.len(), certificate.key_kind), (2, KeyKind::Ecdsa));
    assert_eq!(certificate.dns_names, ["x.org", "*.x.org"]);
    assert!(!format!("{snapshot:?}").contains(&format!("{:?}", &*certificate.key)), "keys never show");
}

/// A Secret that was good and is not any more must not take its hosts down.
#[test]
fn the_last_good_certificate_stays_in_use() {
    let (good, other) = (pair(&["x.org"]), pair(&["x.org"]));
    let web = ingress("web", "{secretName: cert, hosts: [x.org]}");
    let mut index = index(&format!("{EDGE}{}{web}", tls_secret("cert", &good)));
    let chain = |index: &Index| {
        let snapshot = translate(index, &Settings::default(), NOW);
        let table = &snapshot.listeners.values().next().expect("a listener").routes;
        let chain = table.certificates.values().next().map(|chosen| chosen[0].chain.clone());
        (chain, snapshot)
    };
    let apply = |index: &mut Index, text: String| {
        let (objects, _) = crate::source::files::parse_text(std::path::Path::new("test.yaml"), &text);
        for (object, _) in objects {
            index.apply(object, crate::model::Origin::Api);
        }
    };
    let before = chain(&index).0.expect("a certificate");
    let mixed = (other.0.clone(), good.1.clone());
    for broken in [tls_secret("cert", &mixed), secret("cert", "kubernetes.io/tls", &[("tls.crt", "x")])] {
        apply(&mut index, broken);
        let (after, snapshot) = chain(&index);
        assert_eq!(after.as_ref(), Some(&before));
        let stays = "its last good certificate stays in use";
        assert_complaints(&snapshot, &[stays, stays]);
    }
    apply(&mut index, tls_secret("cert", &other));
    let (after, snapshot) = chain(&index);
    assert_ne!(after.expect("a certificate"), before);
    assert_complaints(&snapshot, &[]);
}

#[test]
fn many_are_read_as_one_by_one() {
    let good = pair(&["x.org"]);
    let (bad, count) = ((good.0.clone(), pair(&["x.org"]).1), 3 * FEW);
    let secrets = tls_secret("good", &good) + &tls_secret("bad", &bad);
    let ingresses: Vec<_> = (0..count)
        .map(|number| {
            let secret = if number % 2 == 0 { "good" } else { "bad" };
            ingress(&format!("i{number}"), &format!("{{secretName: {secret}, hosts: [h{number}.x.org]}}"))
        })
        .collect();
    let at_once = index(&format!("{EDGE}{secrets}{}", ingresses.concat()));
    let at_once = translate(&at_once, &Settings::default(), NOW);
    let (mut one_by_one, mut translator) =
        (index(&format!("{EDGE}{secrets}")), Translator::new(Settings::default()));
    for ingress in &ingresses {
        let found = index(ingress);
        let (object, origin) =
            found.ingresses().next().and_then(|(name, _)| found.entry(name)).expect("an Ingress");
        one_by_one.apply(object.clone(), origin.clone());
        translator.translate(&mut one_by_one, NOW);
    }
    let one_by_one = translator.translate(&mut one_by_one, NOW);
    let tables = |snapshot: &crate::model::Snapshot| {
        snapshot.listeners.values().map(|listener| listener.routes.clone()).collect::<Vec<_>>()
    };
    assert_eq!(tables(&at_once), tables(&one_by_one));
    assert_eq!(at_once.problems.len(), one_by_one.problems.len());
    assert_eq!(tables(&at_once)[0].certificates.len(), count / 2);
}

/// A Secret with an OCSP response beside its certificate, of serial number 7, and an Ingress that names it.
fn stapled(response: &[u8]) -> String {
    let mut params = CertificateParams::new(["x.org".to_owned()]).expect("names");
    params.serial_number = Some(vec![7].into());
    let key = KeyPair::generate().expect("a key");
    let made = params.self_signed(&key).expect("a certificate");
    let secret = tls_secret("cert", &(made.pem(), key.serialize_pem()));
    let response = serde_json::json!(ByteString(response.to_vec()));
    format!("{secret}data: {{tls.ocsp-staple: {response}}}\n")
        + &ingress("web", "{secretName: cert, hosts: [x.org]}")
}

#[test]
fn a_staple_of_no_use_is_told_of_and_takes_nothing_down() {
    let check = |response: &[u8], problem: &str| {
        let place = "Secret default/cert: data.tls.ocsp-staple: ";
        let words = format!("{place}{problem}: handshakes go without it");
        check(&stapled(response), &Settings::default(), &["x.org cert"], &[&words]);
    };
    check(b"nonsense", "is no OCSP response in DER");
    check(
        &response(&[(&[8], 0x80, None)]),
        "the OCSP response is about another certificate than the one in tls.crt",
    );
    check(&response(&[(&[7], 0x81, None)]), "the OCSP response does not say that the certificate is good");
    check(
        &response(&[(&[7], 0x80, Some("20251231000000Z"))]),
        "the OCSP response ended at 2025-12-31T00:00:00Z",
    );
}

#[test]
fn the_end_of_a_staple_is_told_of_when_it_comes() {
    let mut index = index(&format!("{EDGE}{}", stapled(&response(&[(&[7], 0x80, Some("20260101000010Z"))]))));
    let mut translator = Translator::new(Settings::default());
    let staple = |snapshot: &crate::model::Snapshot| {
        let table = &snapshot.listeners.values().next().expect("a listener").routes;
        let (_, certificates) = table.certificates.iter().next().expect("a certificate");
        certificates[0].staple.is_some()
    };
    for (seconds, problems) in [(0, 0), (10, 0), (11, 1)] {
        let snapshot = translator.translate(&mut index, NOW + seconds);
        assert_eq!(snapshot.problems.len(), problems, "after {seconds} s");
        assert!(staple(&snapshot));
    }
}
