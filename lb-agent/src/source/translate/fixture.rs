//! For tests: an index out of YAML text, and what a translation complains about.

use std::path::{Path, PathBuf};

use crate::model::{Cause, ObjectRef, Origin, Snapshot};
use crate::source::files::parse_text;
use crate::source::{Index, Settings, translate};

/// 2026-01-01T00:00:00Z.
pub(crate) const NOW: i64 = 1_767_225_600;

/// The IngressClass `edgelb`, and a Service with VIP 203.0.113.10, ports 80 and 443.
pub(crate) const EDGE: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: edgelb}
spec: {controller: edgelb.dev/ingress}
---
apiVersion: v1
kind: Service
metadata: {name: ingress, namespace: edge, annotations: {edgelb.dev/vips: 203.0.113.10}}
spec:
  type: LoadBalancer
  loadBalancerClass: edgelb.dev/ingress
  ports: [{name: http, port: 80}, {name: https, port: 443}]
---
";

/// An index of the objects in some YAML; whatever does not parse fails the test.
pub(crate) fn index(yaml: &str) -> Index {
    let mut index = Index::default();
    let (objects, problems) = parse_text(Path::new("test.yaml"), yaml);
    assert!(problems.is_empty(), "{problems:#?}");
    for (object, line) in objects {
        index.apply(object, Origin::File { path: PathBuf::from("test.yaml"), line });
    }
    index
}

/// The snapshot of the objects in some YAML.
pub(crate) fn snapshot(yaml: &str, settings: &Settings) -> Snapshot {
    translate(&index(yaml), settings, NOW)
}

/// Problems as people read them, without the file.
pub(crate) fn complaints(snapshot: &Snapshot) -> Vec<String> {
    let without_origin =
        |problem: &crate::model::Problem| crate::model::Problem { origin: None, ..problem.clone() };
    snapshot.problems.iter().map(|problem| without_origin(problem).to_string()).collect()
}

/// The fields of which somebody else has already what stands in them, each with its object.
pub(crate) fn conflicts(snapshot: &Snapshot) -> Vec<String> {
    let conflicts = snapshot.problems.iter().filter(|problem| problem.cause == Cause::Conflict);
    let place = |object: &ObjectRef, field: &str| format!("{object}: {field}");
    conflicts.filter_map(|problem| Some(place(problem.object.as_ref()?, &problem.field))).collect()
}

/// Fails unless each expected text is part of a problem of its own, and there are no others.
#[track_caller]
pub(crate) fn assert_complaints(snapshot: &Snapshot, expected: &[&str]) {
    let found = complaints(snapshot);
    let mut left: Vec<&String> = found.iter().collect();
    let mut take =
        |part: &&str| left.iter().position(|found| found.contains(part)).map(|at| left.remove(at)).is_some();
    let all = expected.iter().all(&mut take);
    assert!(all && found.len() == expected.len(), "found {found:#?}\nexpected {expected:#?}");
}
