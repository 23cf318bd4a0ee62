//! Tables of what documents hold, and what is said of them.

use proptest::prelude::*;

use super::*;

/// What a document holds: objects by name (`!` before one with wrong fields), then what is said of them.
#[track_caller]
fn check(text: &str, items: &[&str], notes: &[&str]) {
    let decoded = decode(text).expect(text);
    let found: Vec<String> = decoded
        .items
        .iter()
        .map(|item| match item {
            Item::Good(object) => object.reference().to_string(),
            Item::Bad(name) => format!("!{name}"),
        })
        .collect();
    assert_eq!(found, items, "{text}");
    let found: Vec<String> = decoded
        .notes
        .iter()
        .map(|note| format!("{:?} {}: {}", note.severity, note.field, note.message))
        .collect();
    let all = found.len() == notes.len() && found.iter().zip(notes).all(|(found, note)| found.contains(note));
    assert!(all, "found {found:#?}\nexpected {notes:#?}");
}

#[test]
fn every_kind_is_read() {
    for (api_version, kind, name) in [
        ("v1", "Node", "Node x"),
        ("v1", "Service", "Service default/x"),
        ("v1", "Secret", "Secret default/x"),
        ("v1", "ConfigMap", "ConfigMap default/x"),
        ("discovery.k8s.io/v1", "EndpointSlice", "EndpointSlice default/x"),
        ("networking.k8s.io/v1", "IngressClass", "IngressClass x"),
        ("networking.k8s.io/v1", "Ingress", "Ingress default/x"),
        ("edgelb.dev/v1alpha1", "IngressParameters", "IngressParameters x"),
    ] {
        check(&format!("{{apiVersion: {api_version}, kind: {kind}, metadata: {{name: x}}}}"), &[name], &[]);
    }
}

#[test]
fn lists_hold_objects() {
    let node = "{apiVersion: v1, kind: Node, metadata: {name: x}}";
    check(
        &format!("{{apiVersion: v1, kind: List, items: [{node}, {node}, 7]}}"),
        &["Node x", "Node x"],
        &["items: an item is no"],
    );
    check("{apiVersion: v1, kind: NodeList, metadata: {}, items: [{metadata: {name: x}}]}", &["Node x"], &[]);
    check(
        "{apiVersion: v1, kind: PodList, items: [{metadata: {name: x}}]}",
        &[],
        &["Warning : edgelb does not read Pod of v1"],
    );
}

#[test]
fn namespaces_are_filled_in() {
    let service =
        |metadata: &str| format!("{{apiVersion: v1, kind: Service, metadata: {{name: x, {metadata}}}}}");
    check(&service("namespace: edge"), &["Service edge/x"], &[]);
    check(&service("namespace: ''"), &["Service default/x"], &[]);
    check(&service("namespace: null"), &["Service default/x"], &[]);
    check("{apiVersion: v1, kind: Node, metadata: {name: x, namespace: edge}}", &["Node x"], &[]);
}

#[test]
fn other_kinds_are_told_of() {
    check(
        "{apiVersion: apps/v1, kind: Deployment}",
        &[],
        &["Warning : edgelb does not read Deployment of apps/v1"],
    );
    check(
        "{apiVersion: serving.knative.dev/v1, kind: Service}",
        &[],
        &["Warning : edgelb does not read Service of"],
    );
    for old in ["extensions/v1beta1", "networking.k8s.io/v1beta1", "v1"] {
        let text = format!("{{apiVersion: {old}, kind: Ingress, metadata: {{name: x}}}}");
        check(&text, &[], &[&format!("Error apiVersion: {old} is not read: write networking.k8s.io/v1")]);
    }
}

#[test]
fn what_is_no_object_is_told_of() {
    check("# nothing", &[], &[]);
    check("just text", &[], &["Error : is no Kubernetes object"]);
    check("[1, 2]", &[], &["Error : is no Kubernetes object"]);
    check("{metadata: {name: x}}", &[], &["Error : is no Kubernetes object: apiVersion or kind is missing"]);
    check("{apiVersion: v1, kind: Node}", &[], &["Error metadata.name: the Node has no name"]);
    check("{apiVersion: v1, kind: Node, metadata: 7}", &[], &["Error metadata.name: the Node has no name"]);
}

#[test]
fn fields_are_named_in_complaints() {
    let ingress = |backend: &str| {
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: x}}, \
             spec: {{rules: [{{http: {{paths: [{{path: /, pathType: Prefix, backend: {{{backend}}}}}]}}}}]}}}}"
        )
    };
    let at = "spec.rules[0].http.paths[0].backend";
    check(
        &ingress("sevice: {name: a}"),
        &["Ingress default/x"],
        &[&format!("Warning {at}.sevice: unknown field, ignored: is it misspelt?")],
    );
    check(
        &ingress("service: {name: a, port: {number: http}}"),
        &["!Ingress default/x"],
        &[&format!("Error {at}.service.port.number: invalid type: string \"http\", expected i32")],
    );
    check(
        "{apiVersion: v1, kind: Node, metadata: {name: x, labels: {edgelb.dev/edge: true}}}",
        &["!Node x"],
        &["Error metadata.labels.edgelb.dev/edge: invalid type: boolean `true`, expected a string"],
    );
}

#[test]
fn string_data_is_data() {
    let text = "{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {name: x}, \
                data: {tls.crt: b2xk, tls.key: a2V5, other: b3RoZXI=}, stringData: {tls.crt: new}}";
    let decoded = decode(text).expect("YAML");
    let [Item::Good(Object::Secret(secret))] = decoded.items.as_slice() else { panic!("{decoded:?}") };
    let secret = Secret::from(&**secret);
    let data: Vec<(&str, &[u8])> =
        secret.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice())).collect();
    assert_eq!(data, [("tls.crt", b"new".as_slice()), ("tls.key", b"key")]);
}

/// As `base64` without `-w0` writes it, and as the API server takes it.
#[test]
fn line_breaks_in_data_do_not_count() {
    let text = "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: x}\n\
                data:\n  tls.crt: |\n    b2x\n    k\n  tls.key: \"a2\\r\\nV5\"\n";
    let decoded = decode(text).expect("YAML");
    let [Item::Good(Object::Secret(secret))] = decoded.items.as_slice() else { panic!("{decoded:?}") };
    let secret = Secret::from(&**secret);
    let data: Vec<&[u8]> = secret.data.iter().flatten().map(|(_, value)| value.0.as_slice()).collect();
    assert_eq!(data, [b"old".as_slice(), b"key"]);
}

#[test]
fn complaints_do_not_quote_secrets() {
    let secret = |data: &str| format!("{{apiVersion: v1, kind: Secret, metadata: {{name: x}}, {data}}}");
    for data in ["data: {tls.key: 's3cret!'}", "stringData: {tls.key: 12345}", "data: 12345"] {
        check(
            &secret(data),
            &["!Secret default/x"],
            &["is not what it has to be: base64 in data, text in stringData"],
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Random bits of manifests in random order: taken or refused, but never a panic.
    #[test]
    fn no_text_is_too_strange(parts in proptest::collection::vec(prop_oneof![
        "\\PC{0,3}",
        proptest::sample::select(&[
            "apiVersion: v1\n", "kind: Node\n", "kind: Secret\n", "kind: List\n", "items:\n", "- ", "  ", "\n", "metadata: ",
            "{name: x}\n", "{", "}", "[", "]", ", ", "data: ", "&a ", "*a ", "<<: ", "? ", "!!binary ", "!!str ", "|\n", "'", "\"",
            "null\n", "1e999\n", "0755\n", "---\n", "%TAG ! x\n", "status: ", "addresses: ",
        ][..]).prop_map(str::to_owned),
    ], 0..24)) {
        let text = parts.concat();
        let (objects, _) = crate::source::files::parse_text(std::path::Path::new("a.yaml"), &text);
        prop_assert!(objects.iter().all(|(object, line)| *line >= 1 && !object.reference().name.is_empty()));
    }
}
