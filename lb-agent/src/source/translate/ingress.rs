//! One Ingress -> its routes, before they meet those of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressRule};

use super::age::Age;
use super::asked::Asked;
use super::backends::{Backends, User};
use super::certificates::HostCertificate;
use crate::model::{Backend, HostPattern, ObjectRef, PathKind, PathRule, Problem};
use crate::source::{Index, names};

/// What an Ingress of ours asks for: parsed, its backends resolved.
#[derive(Debug)]
pub(super) struct IngressRoutes {
    /// The Ingress.
    pub(super) name: Arc<ObjectRef>,
    /// How old it is.
    pub(super) age: Age,
    /// Its class.
    pub(super) class: String,
    /// The paths of each host, by host; a host without paths sends all to the default backend.
    pub(super) hosts: Box<[(HostPattern, Box<[Route]>)]>,
    /// `spec.defaultBackend`.
    pub(super) default_backend: Option<Arc<Backend>>,
    /// Whether it has rules at all: without, its default backend is that of all hosts.
    pub(super) has_rules: bool,
    /// The certificates of `spec.tls`.
    pub(super) certificates: Vec<HostCertificate>,
}

/// A path with its backend.
#[derive(Debug)]
pub(super) struct Route {
    /// What it matches.
    pub(super) path: PathRule,
    /// Where its requests go.
    pub(super) backend: Arc<Backend>,
    /// The rule in which it stands, and its place there, from 0.
    place: (usize, usize),
}

impl Route {
    /// Where it stands: `spec.rules[0].http.paths[0]`.
    pub(super) fn field(&self) -> String {
        field(self.place)
    }
}

impl IngressRoutes {
    /// The paths of a host; `None` if it does not name the host.
    pub(super) fn of_host(&self, host: &HostPattern) -> Option<&[Route]> {
        let at = self.hosts.binary_search_by(|(found, _)| found.cmp(host)).ok()?;
        Some(&self.hosts[at].1)
    }

    /// All backends, some perhaps more than once.
    pub(super) fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        let routes = self.hosts.iter().flat_map(|(_, routes)| routes);
        routes.map(|route| &route.backend).chain(&self.default_backend)
    }
}

/// An Ingress of ours as it is read.
pub(super) struct Reading<'a> {
    /// Its name.
    pub(super) name: &'a Arc<ObjectRef>,
    /// The Ingress.
    pub(super) ingress: &'a Ingress,
    /// Its class.
    pub(super) class: &'a str,
    /// Where its backends are.
    pub(super) index: &'a Index,
    /// What it asks for of its backends.
    pub(super) asked: &'a Arc<Asked>,
    /// Whether its routes may lead to Services of type ExternalName.
    pub(super) allows_external_name: bool,
}

impl Reading<'_> {
    /// As who it asks for backends.
    pub(super) fn user(&self) -> User<'_> {
        let Self { name, index, asked, allows_external_name, .. } = *self;
        User { name, index, asked, allows_external_name }
    }

    /// Its routes; rules that cannot be read are left out, the others stay.
    pub(super) fn routes(&self, backends: &mut Backends, problems: &mut Vec<Problem>) -> IngressRoutes {
        let spec = self.ingress.spec.as_ref();
        let rules: &[IngressRule] = spec.and_then(|spec| spec.rules.as_deref()).unwrap_or_default();
        let default_backend = spec
            .and_then(|spec| spec.default_backend.as_ref())
            .map(|wanted| backends.resolve(self, "spec.defaultBackend", wanted, problems));
        let mut hosts: BTreeMap<HostPattern, Vec<Route>> = BTreeMap::new();
        for (at, rule) in rules.iter().enumerate() {
            match HostPattern::parse(rule.host.as_deref().unwrap_or_default()) {
                Ok(host) => hosts.entry(host).or_default().extend(self.rule(at, rule, backends, problems)),
                Err(error) => {
                    let field = format!("spec.rules[{at}].host");
                    problems.push(Problem::error(self.name, field, error.to_string()));
                }
            }
        }
        problems.extend(self.unread_annotations());
        if rules.is_empty() && default_backend.is_none() {
            problems.push(Problem::error(
                self.name,
                "spec",
                "has neither rules nor a default backend: it routes nothing",
            ));
        }
        IngressRoutes {
            name: Arc::clone(self.name),
            age: Age::of(&self.ingress.metadata),
            class: self.class.to_owned(),
            hosts: hosts.into_iter().map(|(host, routes)| (host, routes.into())).collect(),
            default_backend,
            has_rules: !rules.is_empty(),
            certificates: Vec::new(),
        }
    }

    /// What ingress-nginx would do otherwise: who comes from there should hear of it.
    fn unread_annotations(&self) -> Option<Problem> {
        let annotations = self.ingress.metadata.annotations.iter().flatten();
        let of_nginx = annotations.filter(|(key, _)| !names::is_read(key));
        let unread: Vec<_> = of_nginx.filter_map(|(key, _)| key.strip_prefix(names::NGINX)).collect();
        let message =
            || format!("not read, and requests are served without: ingress-nginx' {}", unread.join(", "));
        (!unread.is_empty()).then(|| Problem::warning(self.name, "metadata.annotations", message()))
    }

    fn rule(
        &self,
        at: usize,
        rule: &IngressRule,
        backends: &mut Backends,
        problems: &mut Vec<Problem>,
    ) -> Vec<Route> {
        let mut routes = Vec::new();
        for (within, path) in rule.http.iter().flat_map(|http| &http.paths).enumerate() {
            let place = (at, within);
            match path_rule(path) {
                Ok(rule) => {
                    let field = format!("{}.backend", field(place));
                    let backend = backends.resolve(self, &field, &path.backend, problems);
                    routes.push(Route { path: rule, backend, place });
                }
                Err((part, message)) => {
                    problems.push(Problem::error(self.name, format!("{}{part}", field(place)), message));
                }
            }
        }
        routes
    }
}

fn field((rule, path): (usize, usize)) -> String {
    format!("spec.rules[{rule}].http.paths[{path}]")
}

/// `ImplementationSpecific` is `Prefix`, and may leave the path out.
fn path_rule(path: &HTTPIngressPath) -> Result<PathRule, (&'static str, String)> {
    let text = path.path.as_deref().unwrap_or_default();
    let (kind, text) = match path.path_type.as_str() {
        "Exact" => (PathKind::Exact, text),
        "Prefix" => (PathKind::Prefix, text),
        "ImplementationSpecific" => (PathKind::Prefix, if text.is_empty() { "/" } else { text }),
        "" => {
            let message = "is missing: write Exact, Prefix or ImplementationSpecific; the path is ignored";
            return Err((".pathType", message.to_owned()));
        }
        other => {
            let message =
                format!("{other:?} is none of Exact, Prefix, ImplementationSpecific: the path is ignored");
            return Err((".pathType", message));
        }
    };
    if text.is_empty() {
        return Err((".path", "is missing: write one that starts with /; the path is ignored".to_owned()));
    }
    PathRule::new(kind, text).map_err(|error| (".path", error.to_string()))
}
