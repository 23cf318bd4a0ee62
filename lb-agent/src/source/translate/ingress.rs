//! One Ingress -> its routes, before they meet those of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressRule};

use super::backends::Backends;
use super::certificates::HostCertificate;
use crate::model::{Backend, HostPattern, ObjectRef, PathKind, PathRule, Problem};

/// What an Ingress of ours asks for: parsed, its backends resolved.
#[derive(Debug)]
pub(super) struct IngressRoutes {
    /// The Ingress.
    pub(super) name: ObjectRef,
    /// Its class.
    pub(super) class: String,
    /// The paths of each host; a host without paths sends all to the default backend.
    pub(super) hosts: BTreeMap<HostPattern, Vec<Route>>,
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
    /// Where it stands: `spec.rules[0].http.paths[0]`.
    pub(super) field: String,
}

/// The routes of one Ingress of a class; rules that cannot be read are left out, the others stay.
pub(super) fn translate(
    name: &ObjectRef,
    ingress: &Ingress,
    class: &str,
    backends: &mut Backends<'_>,
    problems: &mut Vec<Problem>,
) -> IngressRoutes {
    let spec = ingress.spec.as_ref();
    let rules: &[IngressRule] = spec.and_then(|spec| spec.rules.as_deref()).unwrap_or_default();
    let default_backend = spec
        .and_then(|spec| spec.default_backend.as_ref())
        .map(|wanted| backends.resolve(name, "spec.defaultBackend", wanted, problems));
    let mut hosts: BTreeMap<HostPattern, Vec<Route>> = BTreeMap::new();
    for (at, rule) in rules.iter().enumerate() {
        let field = format!("spec.rules[{at}]");
        match HostPattern::parse(rule.host.as_deref().unwrap_or_default()) {
            Ok(host) => hosts.entry(host).or_default().extend(routes(name, &field, rule, backends, problems)),
            Err(error) => problems.push(Problem::error(name, format!("{field}.host"), error.to_string())),
        }
    }
    if rules.is_empty() && default_backend.is_none() {
        problems.push(Problem::error(
            name,
            "spec",
            "has neither rules nor a default backend: it routes nothing",
        ));
    }
    IngressRoutes {
        name: name.clone(),
        class: class.to_owned(),
        hosts,
        default_backend,
        has_rules: !rules.is_empty(),
        certificates: Vec::new(),
    }
}

fn routes(
    name: &ObjectRef,
    field: &str,
    rule: &IngressRule,
    backends: &mut Backends<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Route> {
    let mut routes = Vec::new();
    for (at, path) in rule.http.iter().flat_map(|http| &http.paths).enumerate() {
        let field = format!("{field}.http.paths[{at}]");
        match path_rule(path) {
            Ok(rule) => {
                let backend = backends.resolve(name, &format!("{field}.backend"), &path.backend, problems);
                routes.push(Route { path: rule, backend, field });
            }
            Err((part, message)) => problems.push(Problem::error(name, format!("{field}{part}"), message)),
        }
    }
    routes
}

/// `ImplementationSpecific` is `Prefix`, and may leave the path out.
fn path_rule(path: &HTTPIngressPath) -> Result<PathRule, (&'static str, String)> {
    let text = path.path.as_deref().unwrap_or_default();
    let (kind, text) = match path.path_type.as_str() {
        "Exact" => (PathKind::Exact, text),
        "Prefix" => (PathKind::Prefix, text),
        "ImplementationSpecific" => (PathKind::Prefix, if text.is_empty() { "/" } else { text }),
        other => {
            let message =
                format!("{other:?} is none of Exact, Prefix, ImplementationSpecific: the path is ignored");
            return Err((".pathType", message));
        }
    };
    PathRule::new(kind, text).map_err(|error| (".path", error.to_string()))
}
