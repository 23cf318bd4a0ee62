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
    format!("{what} belongs to {winner}, which is older or first by name: this one has no effect")
}

#[cfg(test)]
mod tests;
