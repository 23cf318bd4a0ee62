//! The routes of several classes -> one table: whoever is older keeps what two ask for, and the other hears of it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::certificates::HostCertificate;
use super::ingress::IngressRoutes;
use crate::model::{
    Backend, Certificate, HostPattern, HostRoutes, ObjectRef, PathRule, Problem, RouteTable, Rule,
};

/// The table of the Ingresses of `classes`, given the oldest first. `fallback` is the operator's certificate for
/// hosts without one; it wins over sections of Ingresses that name no host.
pub(super) fn merge(
    ingresses: &[IngressRoutes],
    classes: &BTreeSet<String>,
    fallback: Option<&Arc<Certificate>>,
    problems: &mut Vec<Problem>,
) -> RouteTable {
    let mut merge =
        Merge { problems, hosts: BTreeMap::new(), default_backend: None, certificates: BTreeMap::new() };
    if let Some(certificate) = fallback {
        let chosen = Chosen { certificate: Arc::clone(certificate), by: None };
        merge.certificates.entry(HostPattern::Any).or_default().push(chosen);
    }
    for ingress in ingresses.iter().filter(|ingress| classes.contains(&ingress.class)) {
        merge.add_routes(ingress);
        merge.add_default(ingress);
        ingress.certificates.iter().for_each(|wanted| merge.add_certificate(&ingress.name, wanted));
    }
    merge.finish()
}

struct Merge<'a> {
    problems: &'a mut Vec<Problem>,
    hosts: BTreeMap<HostPattern, Host>,
    default_backend: Option<Owned>,
    certificates: BTreeMap<HostPattern, Vec<Chosen>>,
}

#[derive(Default)]
struct Host {
    rules: BTreeMap<PathRule, Rule>,
    default_backend: Option<Owned>,
}

/// A default backend and the Ingress whose it is.
#[derive(Clone)]
struct Owned {
    backend: Arc<Backend>,
    by: ObjectRef,
}

/// A certificate and the Ingress that chose it; `None` for the operator.
struct Chosen {
    certificate: Arc<Certificate>,
    by: Option<ObjectRef>,
}

impl Merge<'_> {
    fn add_routes(&mut self, ingress: &IngressRoutes) {
        for (pattern, routes) in &ingress.hosts {
            let host = self.hosts.entry(pattern.clone()).or_default();
            for route in routes {
                match host.rules.entry(route.path.clone()) {
                    Entry::Vacant(free) => {
                        free.insert(Rule {
                            path: route.path.clone(),
                            backend: Arc::clone(&route.backend),
                            ingress: ingress.name.clone(),
                        });
                    }
                    Entry::Occupied(taken) => {
                        let what = format!("{} of host {pattern}", route.path);
                        let message = lost(&what, &ingress.name, &taken.get().ingress);
                        self.problems.push(Problem::error(
                            &ingress.name,
                            format!("{}.path", route.field),
                            message,
                        ));
                    }
                }
            }
        }
    }

    /// An Ingress with rules gives their hosts a default backend, one without rules gives it to all hosts.
    fn add_default(&mut self, ingress: &IngressRoutes) {
        let Some(backend) = &ingress.default_backend else { return };
        let offer = Owned { backend: Arc::clone(backend), by: ingress.name.clone() };
        let mut give = |place: &mut Option<Owned>, what: &str| match place {
            None => *place = Some(offer.clone()),
            Some(taken) if taken.backend == offer.backend => {}
            Some(taken) => {
                let message = lost(what, &offer.by, &taken.by);
                self.problems.push(Problem::error(&offer.by, "spec.defaultBackend", message));
            }
        };
        if !ingress.has_rules {
            return give(&mut self.default_backend, "the default backend of all hosts");
        }
        for pattern in ingress.hosts.keys() {
            let host = self.hosts.entry(pattern.clone()).or_default();
            give(&mut host.default_backend, &format!("the default backend of host {pattern}"));
        }
    }

    fn add_certificate(&mut self, ingress: &ObjectRef, wanted: &HostCertificate) {
        let chosen = self.certificates.entry(wanted.host.clone()).or_default();
        let certificate = Arc::clone(&wanted.certificate);
        match chosen.iter().find(|chosen| chosen.certificate.key_kind == certificate.key_kind) {
            None => chosen.push(Chosen { certificate, by: Some(ingress.clone()) }),
            // The same certificate, perhaps copied to another namespace: nobody loses anything.
            Some(taken) if taken.certificate.chain == certificate.chain => {}
            Some(Chosen { by: Some(winner), .. }) => {
                let what = format!("the certificate of host {}", wanted.host);
                let message = lost(&what, ingress, winner);
                self.problems.push(Problem::error(ingress, wanted.field.as_str(), message));
            }
            Some(Chosen { by: None, .. }) => {
                let message = "a section without hosts gives way to the operator's default certificate";
                self.problems.push(Problem::error(ingress, wanted.field.as_str(), message));
            }
        }
    }

    fn finish(self) -> RouteTable {
        let host = |host: Host| HostRoutes {
            rules: host.rules.into_values().collect(),
            default_backend: host.default_backend.map(|owned| owned.backend),
        };
        let sorted = |mut chosen: Vec<Chosen>| {
            chosen.sort_by_key(|chosen| chosen.certificate.key_kind);
            chosen.into_iter().map(|chosen| chosen.certificate).collect()
        };
        RouteTable {
            hosts: self.hosts.into_iter().map(|(pattern, routes)| (pattern, host(routes))).collect(),
            default_backend: self.default_backend.map(|owned| owned.backend),
            certificates: self
                .certificates
                .into_iter()
                .map(|(host, chosen)| (host, sorted(chosen)))
                .collect(),
        }
    }
}

/// What the younger one is told.
fn lost(what: &str, loser: &ObjectRef, winner: &ObjectRef) -> String {
    if loser == winner {
        return format!("{what} is already given further up in this Ingress, which counts");
    }
    format!("{what} belongs to {winner}, which is older: this one has no effect")
}

#[cfg(test)]
mod tests {
    use crate::model::HostPattern;
    use crate::source::Settings;
    use crate::source::translate::fixture::{EDGE, assert_complaints, snapshot};

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
        let default =
            default.map(|service| format!("defaultBackend: {},", backend(service))).unwrap_or_default();
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
                routes
                    .rules
                    .iter()
                    .map(|rule| format!("{host} {} -> {}", rule.path, rule.backend.id.service)),
            );
            found.extend(
                routes.default_backend.iter().map(|backend| format!("{host} * -> {}", backend.id.service)),
            );
        }
        found
            .extend(table.default_backend.iter().map(|backend| format!("default -> {}", backend.id.service)));
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
                    &[
                        rule("X.org", &[path("Exact", "/shop", "c")]),
                        rule("*.org", &[path("Exact", "/", "a")]),
                    ],
                ),
            ],
            &[
                "x.org Exact /shop -> c",
                "x.org Prefix /shop -> b",
                "x.org Prefix / -> a",
                "*.org Exact / -> a",
            ],
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
        let rules = &tables[0].hosts[&HostPattern::Precise("x.org".to_owned())].rules;
        assert!(std::sync::Arc::ptr_eq(&rules[0].backend, &rules[1].backend));
    }
}
