//! What several Ingresses ask for at one host -> one answer: whoever is older keeps what two ask for, and the other
//! hears of it. Pure, and host by host, so that a change of one leaves the others alone.

use std::sync::Arc;

use super::certificates::HostCertificate;
use super::defaults::Fallback;
use super::ingress::{IngressRoutes, Route};
use crate::model::{
    Backend, Cause, Certificate, DefaultBackend, HostPattern, HostRoutes, ObjectRef, Problem, Rule,
    contested_path,
};

/// The routes of a host, of the Ingresses that name it, the oldest first; `None` if there are none of them.
pub(super) fn host<'a>(
    pattern: &HostPattern,
    ingresses: impl Iterator<Item = &'a IngressRoutes> + Clone,
    problems: &mut Vec<Problem>,
) -> Option<HostRoutes> {
    ingresses.clone().next()?;
    let mut default_backend = Default::default();
    for ingress in ingresses.clone().filter(|ingress| ingress.has_rules) {
        let what = || format!("the default backend of host {pattern}");
        offer(ingress, &mut default_backend, what, problems);
    }
    Some(HostRoutes {
        rules: rules(pattern, ingresses, problems),
        default_backend: default_backend.map(|owned: Owned<'_>| owned.into()),
    })
}

fn rules<'a>(
    pattern: &HostPattern,
    ingresses: impl Iterator<Item = &'a IngressRoutes>,
    problems: &mut Vec<Problem>,
) -> Vec<Rule> {
    let of_host = |ingress: &'a IngressRoutes| ingress.of_host(pattern).unwrap_or_default();
    let mut routes: Vec<(&IngressRoutes, &Route)> =
        ingresses.flat_map(|ingress| of_host(ingress).iter().map(move |route| (ingress, route))).collect();
    // A stable sort: of those with one path, the oldest stays the first.
    routes.sort_by(|(_, one), (_, other)| one.path.cmp(&other.path));
    let mut rules: Vec<Rule> = Vec::with_capacity(routes.len());
    for (ingress, route) in routes {
        match rules.last().filter(|taken| taken.path == route.path) {
            None => rules.push(Rule {
                path: route.path.clone(),
                backend: Arc::clone(&route.backend),
                ingress: Arc::clone(&ingress.name),
            }),
            Some(taken) => {
                let what = contested_path(&route.path, pattern);
                let field = format!("{}.path", route.field());
                problems.push(lost(&what, &ingress.name, field, &taken.ingress));
            }
        }
    }
    rules.shrink_to_fit();
    rules
}

/// The default backend of all hosts, of the Ingresses without rules, the oldest first.
pub(super) fn default_backend<'a>(
    ingresses: impl Iterator<Item = &'a IngressRoutes>,
    problems: &mut Vec<Problem>,
) -> Option<DefaultBackend> {
    let mut place = None;
    for ingress in ingresses {
        offer(ingress, &mut place, || "the default backend of all hosts".to_owned(), problems);
    }
    place.map(Owned::into)
}

/// A default backend and the Ingress whose it is.
struct Owned<'a> {
    backend: &'a Arc<Backend>,
    by: &'a Arc<ObjectRef>,
}

impl From<Owned<'_>> for DefaultBackend {
    fn from(owned: Owned<'_>) -> Self {
        Self { backend: Arc::clone(owned.backend), object: Arc::clone(owned.by) }
    }
}

fn offer<'a>(
    ingress: &'a IngressRoutes,
    place: &mut Option<Owned<'a>>,
    what: impl Fn() -> String,
    problems: &mut Vec<Problem>,
) {
    let Some(backend) = &ingress.default_backend else { return };
    match place {
        None => *place = Some(Owned { backend, by: &ingress.name }),
        Some(taken) if taken.backend == backend => {}
        Some(taken) => {
            problems.push(lost(&what(), &ingress.name, "spec.defaultBackend", taken.by));
        }
    }
}

/// The certificates of a host, at most one per kind of key, of the Ingresses that have one for it, the oldest first.
/// `fallbacks` are for hosts without one, the first counts; they win over sections of Ingresses that name no host.
/// `None` if there are no certificates.
pub(super) fn certificates<'a>(
    pattern: &HostPattern,
    ingresses: impl Iterator<Item = &'a IngressRoutes>,
    fallbacks: impl Iterator<Item = Fallback<'a>>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<[Arc<Certificate>]>> {
    let mut chosen: Vec<Chosen<'_>> = Vec::new();
    for fallback in fallbacks.filter(|_| *pattern == HostPattern::Any) {
        choose_default(fallback, &mut chosen, problems);
    }
    for ingress in ingresses {
        for wanted in ingress.certificates.iter().filter(|wanted| wanted.host == *pattern) {
            choose(&ingress.name, wanted, &mut chosen, problems);
        }
    }
    chosen.sort_by_key(|chosen| chosen.certificate.key_kind);
    (!chosen.is_empty()).then(|| chosen.into_iter().map(|chosen| Arc::clone(chosen.certificate)).collect())
}

/// A certificate, and who chose it.
struct Chosen<'a> {
    certificate: &'a Arc<Certificate>,
    by: By<'a>,
}

#[derive(Clone, Copy)]
enum By<'a> {
    Ingress(&'a ObjectRef),
    /// The default of a class, or of all.
    Default(Option<&'a ObjectRef>),
}

fn choose_default<'a>(
    (certificate, by): Fallback<'a>,
    chosen: &mut Vec<Chosen<'a>>,
    problems: &mut Vec<Problem>,
) {
    match chosen.iter().find(|chosen| chosen.certificate.key_kind == certificate.key_kind) {
        None => chosen.push(Chosen { certificate, by: By::Default(by) }),
        Some(taken) if taken.certificate.chain == certificate.chain => {}
        Some(Chosen { by: By::Default(Some(winner)), .. }) => {
            // That the operator's gives way to a class's is as it should be.
            let lost = |by| {
                let message = format!(
                    "on listeners in common, the default certificate of {winner} counts: its class is older or first by name"
                );
                Problem::warning(by, "spec.defaultCertificate", message).because(Cause::Conflict)
            };
            problems.extend(by.map(lost));
        }
        Some(_) => {}
    }
}

fn choose<'a>(
    ingress: &'a ObjectRef,
    wanted: &'a HostCertificate,
    chosen: &mut Vec<Chosen<'a>>,
    problems: &mut Vec<Problem>,
) {
    let certificate = &wanted.certificate;
    match chosen.iter().find(|chosen| chosen.certificate.key_kind == certificate.key_kind) {
        None => chosen.push(Chosen { certificate, by: By::Ingress(ingress) }),
        // The same certificate, perhaps copied to another namespace: nobody loses anything.
        Some(taken) if taken.certificate.chain == certificate.chain => {}
        Some(Chosen { by: By::Ingress(winner), .. }) => {
            let what = format!("the certificate of host {}", wanted.host);
            problems.push(lost(&what, ingress, wanted.field(), winner));
        }
        Some(Chosen { by: By::Default(winner), .. }) => {
            let whose = winner.map_or("the operator's default certificate".to_owned(), |winner| {
                format!("the default certificate of {winner}")
            });
            let message = format!("a section without hosts gives way to {whose}");
            problems.push(Problem::error(ingress, wanted.field(), message).because(Cause::Conflict));
        }
    }
}

/// What the younger one is told.
fn lost(what: &str, loser: &ObjectRef, field: impl Into<String>, winner: &ObjectRef) -> Problem {
    let message = if loser == winner {
        format!("{what} is already given further up in this Ingress, which counts")
    } else {
        format!("{what} belongs to {winner}, which is older or first by name: this one has no effect")
    };
    Problem::error(loser, field, message).because(Cause::Conflict)
}

#[cfg(test)]
mod tests;
