//! Tables of how the routes of several Ingresses meet.

use crate::model::HostPattern;
use crate::source::Settings;
use crate::source::translate::fixture::{EDGE, assert_complaints, conflicts, snapshot};

/// Services `a`, `b`, `c` with port 80 in namespace `default`.
const BACKENDS: &str = "
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: b}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: c}, spec: {ports: [{port: 80}]}}
";

fn backend(service: &str) -> String {
    format!("{{service: {{name: {service}, port: {{number: 80}}}}}}")
}

fn path(kind: &str, path: &str, service: &str) -> String {
    format!("{{pathType: {kind}, path: {path}, backend: {}}}", backend(service))
}

fn rule(host: &str, paths: &[String]) -> String {
    format!("{{host: '{host}', http: {{paths: [{}]}}}}", paths.join(", "))
}

fn ingress(name: &str, metadata: &str, default: Option<&str>, rules: &[String]) -> String {
    let default = default.map(|service| format!("defaultBackend: {},", backend(service))).unwrap_or_default();
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, {metadata}}}\n\
         spec: {{ingressClassName: edgelb, {default} rules: [{}]}}\n",
        rules.join(", ")
    )
}

/// Routes as `host path -> service`, with `*` for a default backend, in the order in which they are asked.
#[track_caller]
fn check(ingresses: &[String], expected: &[&str], problems: &[&str]) {
    let snapshot = snapshot(&format!("{EDGE}{BACKENDS}{}", ingresses.concat()), &Settings::default());
    let table = &snapshot.listeners.values().next().expect("a listener").routes;
    let mut found = Vec::new();
    for (host, routes) in &table.hosts {
        found.extend(
            routes.rules.iter().map(|rule| format!("{host} {} -> {}", rule.path, rule.backend.id.service)),
        );
        found.extend(
            routes
                .default_backend
                .iter()
                .map(|default| format!("{host} * -> {}", default.backend.id.service)),
        );
    }
    found.extend(
        table.default_backend.iter().map(|default| format!("default -> {}", default.backend.id.service)),
    );
    assert_eq!(found, expected);
    assert_complaints(&snapshot, problems);
}

#[test]
fn ingresses_of_one_host_are_merged_in_the_order_of_precedence() {
    check(
        &[
            ingress(
                "one",
                "",
                None,
                &[rule("x.org", &[path("Prefix", "/", "a"), path("Prefix", "/shop/", "b")])],
            ),
            ingress(
                "two",
                "",
                None,
                &[rule("X.org", &[path("Exact", "/shop", "c")]), rule("*.org", &[path("Exact", "/", "a")])],
            ),
        ],
        &["x.org Exact /shop -> c", "x.org Prefix /shop -> b", "x.org Prefix / -> a", "*.org Exact / -> a"],
        &[],
    );
}

#[test]
fn implementation_specific_is_prefix() {
    let without_path = format!("{{pathType: ImplementationSpecific, backend: {}}}", backend("b"));
    check(
        &[ingress(
            "one",
            "",
            None,
            &[rule("x.org", &[path("ImplementationSpecific", "/api", "a"), without_path])],
        )],
        &["x.org Prefix /api -> a", "x.org Prefix / -> b"],
        &[],
    );
}

#[test]
fn the_older_ingress_keeps_a_path() {
    let wants = |name, metadata, service| {
        ingress(name, metadata, None, &[rule("x.org", &[path("Prefix", "/p", service)])])
    };
    let lost = "error: Ingress default/two: spec.rules[0].http.paths[0].path: Prefix /p of host x.org belongs to \
                Ingress default/one, which is older";
    check(&[wants("two", "", "b"), wants("one", "", "a")], &["x.org Prefix /p -> a"], &[lost]);
    let (old, young) =
        ("creationTimestamp: '2024-01-01T00:00:00Z'", "creationTimestamp: '2025-01-01T00:00:00Z'");
    check(
        &[wants("one", young, "a"), wants("two", old, "b")],
        &["x.org Prefix /p -> b"],
        &[
            "Ingress default/one: spec.rules[0].http.paths[0].path: Prefix /p of host x.org belongs to Ingress default/two",
        ],
    );
    // The order is that of `namespace/name`.
    check(
        &[wants("one", "namespace: b", "a"), wants("two", "namespace: a", "b")],
        &["x.org Prefix /p -> b"],
        &[
            "a/two: spec.rules[0].http.paths[0].backend.service.name",
            "b/one: spec.rules[0].http.paths[0].backend.service.name",
            "b/one: spec.rules[0].http.paths[0].path",
        ],
    );
}

#[test]
fn host_path_and_type_together_conflict() {
    check(
        &[
            ingress("one", "", None, &[rule("x.org", &[path("Prefix", "/p", "a")])]),
            ingress(
                "two",
                "",
                None,
                &[rule("x.org", &[path("Exact", "/p", "b"), path("Prefix", "/p/", "c")])],
            ),
            ingress(
                "zoo",
                "",
                None,
                &[rule("y.org", &[path("Prefix", "/p", "c"), path("Prefix", "/p", "a")])],
            ),
        ],
        &["x.org Exact /p -> b", "x.org Prefix /p -> a", "y.org Prefix /p -> c"],
        &[
            "two: spec.rules[0].http.paths[1].path: Prefix /p of host x.org belongs to Ingress default/one",
            "zoo: spec.rules[0].http.paths[1].path: Prefix /p of host y.org is already given further up",
        ],
    );
}

#[test]
fn default_backends_are_of_the_hosts_or_of_all() {
    check(
        &[
            ingress("global", "", Some("c"), &[]),
            ingress(
                "one",
                "",
                Some("a"),
                &[rule("x.org", &[path("Exact", "/p", "b")]), "{host: y.org}".to_owned()],
            ),
            ingress("plain", "", None, &[rule("", &[path("Exact", "/p", "b")])]),
        ],
        &["x.org Exact /p -> b", "x.org * -> a", "y.org * -> a", "* Exact /p -> b", "default -> c"],
        &[],
    );
    check(
        &[
            ingress("one", "", Some("a"), &["{host: x.org}".to_owned()]),
            ingress("two", "", Some("b"), &["{host: x.org}".to_owned(), "{host: y.org}".to_owned()]),
            ingress("yet", "", Some("a"), &["{host: x.org}".to_owned()]),
        ],
        &["x.org * -> a", "y.org * -> b"],
        &["two: spec.defaultBackend: the default backend of host x.org belongs to Ingress default/one"],
    );
    check(
        &[ingress("one", "", Some("a"), &[]), ingress("two", "", Some("b"), &[])],
        &["default -> a"],
        &["two: spec.defaultBackend: the default backend of all hosts belongs to Ingress default/one"],
    );
}

#[test]
fn one_bad_rule_hides_no_other() {
    check(
        &[
            ingress(
                "one",
                "",
                None,
                &[
                    rule("a_b.org", &[path("Exact", "/", "a")]),
                    rule(
                        "x.org",
                        &[path("Regex", "/a", "a"), path("Prefix", "a", "a"), path("Prefix", "/b", "b")],
                    ),
                ],
            ),
            ingress("two", "", None, &[]),
        ],
        &["x.org Prefix /b -> b"],
        &[
            "one: spec.rules[0].host: \"a_b.org\" is not a DNS name",
            "one: spec.rules[1].http.paths[0].pathType: \"Regex\" is none of",
            "one: spec.rules[1].http.paths[1].path: \"a\" is not an absolute path",
            "two: spec: has neither rules nor a default backend",
        ],
    );
}

#[test]
fn a_bad_rule_does_not_make_a_default_backend_global() {
    check(
        &[ingress("one", "", Some("a"), &[rule("a_b.org", &[path("Exact", "/", "a")])])],
        &[],
        &["one: spec.rules[0].host"],
    );
}

#[test]
fn listeners_of_the_same_classes_share_one_table_and_routes_one_backend() {
    let rules = [rule("x.org", &[path("Prefix", "/p", "a"), path("Prefix", "/q", "a")])];
    let snapshot =
        snapshot(&format!("{EDGE}{BACKENDS}{}", ingress("one", "", None, &rules)), &Settings::default());
    let tables: Vec<_> = snapshot.listeners.values().map(|listener| &listener.routes).collect();
    assert_eq!(tables.len(), 2);
    assert!(std::sync::Arc::ptr_eq(tables[0], tables[1]));
    let rules = &tables[0].hosts.get(&HostPattern::Precise("x.org".to_owned())).expect("the host").rules;
    assert!(std::sync::Arc::ptr_eq(&rules[0].backend, &rules[1].backend));
}

#[test]
fn who_loses_hears_of_a_conflict() {
    let rules = |service| [rule("x.org", &[path("Prefix", "/p", service)])];
    let twice =
        [rule("y.org", &[path("Exact", "/q", "a"), path("Exact", "/q", "b"), path("Exact", "q", "b")])];
    let yaml = ingress("one", "", Some("a"), &rules("a"))
        + &ingress("two", "", Some("b"), &rules("b"))
        + &ingress("zoo", "", None, &twice);
    let snapshot = snapshot(&format!("{EDGE}{BACKENDS}{yaml}"), &Settings::default());
    let path = "spec.rules[0].http.paths";
    assert_eq!(
        conflicts(&snapshot),
        [
            "Ingress default/two: spec.defaultBackend",
            &format!("Ingress default/two: {path}[0].path"),
            &format!("Ingress default/zoo: {path}[1].path"),
        ]
    );
}
