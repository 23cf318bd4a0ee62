//! Stored snapshots: written, read, refused.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::source::files::parse_text;

const OBJECTS: &str = "
{apiVersion: v1, kind: Node, metadata: {name: n}, status: {addresses: [{type: InternalIP, address: 198.51.100.1}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80, targetPort: web}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: e, labels: {kubernetes.io/service-name: s}}, ports: [{port: 8080}], endpoints: [{addresses: [192.0.2.1], conditions: {ready: true}}]}
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: edgelb}, spec: {controller: edgelb.dev/ingress}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, creationTimestamp: '2026-01-01T00:00:00Z'}, spec: {ingressClassName: edgelb, rules: [{host: \"a\\n.org\"}]}}
---
{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {name: t}, data: {tls.crt: eA==, tls.key: eA==}}
---
{apiVersion: edgelb.dev/v1alpha1, kind: IngressParameters, metadata: {name: p}, spec: {services: [{namespace: a, name: b}]}}
---
{apiVersion: edgelb.dev/v1alpha1, kind: EdgeMembership, metadata: {name: edgelb}, spec: {lastId: 1, generations: [{number: 1, step: Settled, members: [{name: n, id: 1, address: 198.51.100.1, weight: 1, state: Active}]}]}}
";

fn contents() -> Contents {
    let (objects, problems) = parse_text(Path::new("test.yaml"), OBJECTS);
    assert!(problems.is_empty(), "{problems:?}");
    let mut index = Index::default();
    for (object, _) in objects {
        index.apply(object, Origin::Api);
    }
    Contents {
        node: "n".to_owned(),
        cluster: "uid".to_owned(),
        flow_key: Some(FlowSecret(b"0123456789abcdef"[..].into())),
        objects: index.objects().cloned().collect(),
    }
}

fn stored() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("snapshot");
    write(&path, &contents()).expect("writable");
    (folder, path)
}

#[test]
fn what_is_read_is_what_was_written() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path) = stored();
    let found = read(&path, "n").expect("it is whole").expect("it is there");
    let Contents { cluster, flow_key, objects, .. } = contents();
    assert_eq!((found.cluster, found.flow_key), (cluster, flow_key));
    assert_eq!(found.index.objects().cloned().collect::<Vec<_>>(), objects);
    assert!(found.written.elapsed().expect("in the past") < Duration::from_secs(60));
    let mode = fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    write(&path, &contents()).expect("written again");
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1, "nothing is left beside it");
    assert!(read(&folder.path().join("none"), "n").expect("no error").is_none());
}

#[test]
fn half_a_file_does_not_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("snapshot");
    fs::create_dir(&path).expect("writable");
    write(&path, &contents()).expect_err("a folder is in its place");
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
}

#[test]
fn what_is_of_no_use_says_why() {
    let (_folder, path) = stored();
    let check = |content: &[u8], node: &str, words: &str| {
        fs::write(&path, content).expect("writable");
        let error = read(&path, node).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    };
    let whole = fs::read(&path).expect("readable");
    check(&whole, "m", "of the node \"n\"");
    check(b"", "n", "no stored snapshot");
    check(b"something else entirely, and long enough to hold a checksum of its own, too", "n", "no stored");
    check(&[b"edgelb-state 2 ", &whole[15..]].concat(), "n", "has version 2");
    check(&[&whole[..], b"\n"].concat(), "n", "checksum");
    check(b"edgelb-state 1 {}\n", "n", "checksum");
}

#[test]
fn what_others_could_have_written_is_refused() {
    for (owner, mode, user, expected) in [
        (0, 0o100_600, 0, ""),
        (7, 0o100_600, 7, ""),
        (0, 0o100_644, 0, ""),
        (7, 0o100_600, 0, "it belongs to user 7, and this agent is user 0"),
        (0, 0o100_600, 7, "it belongs to user 0, and this agent is user 7"),
        (0, 0o100_620, 0, "others than its owner may write it (mode 620)"),
        (0, 0o100_602, 0, "others than its owner may write it (mode 602)"),
    ] {
        let said = check_writers(owner, mode, user).err().map(|error| error.to_string());
        assert!(said.as_deref().unwrap_or_default().starts_with(expected), "{said:?}");
        assert_eq!(said.is_none(), expected.is_empty(), "{said:?}");
    }
}

#[test]
fn nothing_but_a_plain_file_of_ours_is_read() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (folder, path) = stored();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("it is ours");
    let error = read(&path, "n").expect_err("anybody may write it").to_string();
    assert!(error.contains("may write it (mode 666)"), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let link = folder.path().join("link");
    symlink(&path, &link).expect("writable");
    read(&link, "n").expect_err("a link may lead anywhere");
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).expect("writable");
    assert_eq!(read(&pipe, "n").expect_err("a pipe").to_string(), "it is no stored snapshot");
}

/// With the right checksum, as a later version of the same format might write it.
#[test]
fn an_unknown_object_is_named_by_its_line() {
    let (_folder, path) = stored();
    let whole = fs::read_to_string(&path).expect("text");
    let body = whole[..whole.len() - FOOTER as usize].replace("Node {", "Noodle {");
    let mut context = Context::new(&SHA256);
    context.update(body.as_bytes());
    fs::write(&path, body + &footer(context)).expect("writable");
    assert_eq!(read(&path, "n").expect_err("unknown").to_string(), "line 2 does not parse");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_change_is_noticed(at in any::<proptest::sample::Index>(), bit in 0..8_u8, is_cut in any::<bool>()) {
        let (_folder, path) = stored();
        let mut content = fs::read(&path).expect("readable");
        let at = at.index(content.len());
        if is_cut {
            content.truncate(at);
        } else {
            content[at] ^= 1 << bit;
        }
        fs::write(&path, &content).expect("writable");
        prop_assert!(read(&path, "n").is_err());
    }
}
