//! Which endpoints have to prove who they are, by the annotations of an Ingress.

use super::*;
use crate::source::translate::fixture::index;

/// A CA's certificate, and a Secret with it and a pair of its own.
fn secret() -> String {
    let made = rcgen::generate_simple_self_signed(["ca.example.org".to_owned()]).expect("a certificate");
    let indented = |text: String| text.replace('\n', "\n    ");
    let (certificate, key) = (indented(made.cert.pem()), indented(made.signing_key.serialize_pem()));
    format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: full, namespace: a}}\nstringData:\n  \
         ca.crt: |\n    {certificate}\n  tls.crt: |\n    {certificate}\n  tls.key: |\n    {key}\n---\napiVersion: v1\n\
         kind: Secret\ntype: Opaque\nmetadata: {{name: ca, namespace: a}}\nstringData:\n  ca.crt: |\n    {certificate}\n---\n\
         apiVersion: v1\nkind: Secret\ntype: Opaque\nmetadata: {{name: bad, namespace: a}}\nstringData: {{ca.crt: none}}\n---\n"
    )
}

/// What comes of these annotations: the choice, and problems.
fn choice(secrets: &str, annotations: &str) -> (TlsChoice, Vec<String>) {
    let yaml = format!(
        "{secrets}{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: i, namespace: a, annotations: \
         {{{annotations}}}}}, spec: {{}}}}"
    );
    let (index, mut problems) = (index(&yaml), Vec::new());
    let name = ObjectRef::new(Kind::Ingress, "a", "i");
    let found = TlsChoice::by(&name, index.ingress(&name).expect("it is there"), &index, &mut problems);
    (found, problems.iter().map(ToString::to_string).collect())
}

fn nginx(pairs: &[(&str, &str)]) -> String {
    let pair = |(key, value): &(&str, &str)| format!("nginx.ingress.kubernetes.io/{key}: '{value}'");
    pairs.iter().map(pair).collect::<Vec<_>>().join(", ")
}

#[test]
fn what_is_asked_for_is_found() {
    let secrets = secret();
    for (annotations, name, hides, verifies, shows) in [
        ("edgelb.dev/backend-tls: 'ca=ca'".to_owned(), "usual", false, true, false),
        (
            "edgelb.dev/backend-tls: 'ca=full, verify=off, server-name=b.org'".to_owned(),
            "b.org",
            false,
            false,
            false,
        ),
        ("edgelb.dev/backend-tls: 'ca=ca, client-certificate=full'".to_owned(), "usual", false, true, true),
        (nginx(&[("proxy-ssl-secret", "a/full"), ("proxy-ssl-verify", "on")]), "usual", false, true, true),
        (nginx(&[("proxy-ssl-secret", "a/full")]), "usual", false, false, true),
        (
            nginx(&[("proxy-ssl-secret", "a/ca"), ("proxy-ssl-verify", "on"), ("proxy-ssl-name", "b.org")]),
            "b.org",
            false,
            true,
            false,
        ),
        (nginx(&[("proxy-ssl-server-name", "off")]), "usual", true, false, false),
    ] {
        let (choice, problems) = choice(&secrets, &annotations);
        assert_eq!(problems, Vec::<String>::new(), "{annotations}");
        let tls = choice.with(|| "usual".to_owned()).expect("terms");
        let found =
            (tls.server_name.as_str(), tls.hides_name, tls.authorities.is_some(), tls.identity.is_some());
        assert_eq!(found, (name, hides, verifies, shows), "{annotations}");
    }
    assert_eq!(choice(&secrets, "").0, TlsChoice::Usual);
}

#[test]
fn what_cannot_be_had_is_said_and_never_left_out() {
    let secrets = secret();
    for (annotations, wrong) in [
        ("edgelb.dev/backend-tls: 'ca=gone'".to_owned(), "Secret a/gone does not exist: requests"),
        ("edgelb.dev/backend-tls: 'ca=bad'".to_owned(), "Secret a/bad: holds no PEM certificate"),
        ("edgelb.dev/backend-tls: 'verify=on'".to_owned(), "ca is missing"),
        ("edgelb.dev/backend-tls: 'ca=b/ca'".to_owned(), "ca: \"b/ca\" is not the name"),
        ("edgelb.dev/backend-tls: 'ca=ca, server-name=a b'".to_owned(), "server-name"),
        ("edgelb.dev/backend-tls: 'client-certificate=ca'".to_owned(), "Secret a/ca: is of type"),
        (
            nginx(&[("proxy-ssl-verify", "on")]),
            "proxy-ssl-verify]: nginx.ingress.kubernetes.io/proxy-ssl-secret is missing",
        ),
        (nginx(&[("proxy-ssl-secret", "b/ca")]), "\"b/ca\" is no Secret of this namespace"),
        (nginx(&[("proxy-ssl-verify", "maybe")]), "\"maybe\" is not on or off"),
    ] {
        let (choice, problems) = choice(&secrets, &annotations);
        assert_eq!(choice, TlsChoice::Unusable, "{annotations}");
        assert!(problems.len() == 1 && problems[0].contains(wrong), "{annotations}: {problems:?}");
        assert!(choice.with(|| unreachable!("nobody is asked")).is_none());
    }
}
