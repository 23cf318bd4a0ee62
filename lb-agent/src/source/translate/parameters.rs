//! What IngressParameters say of a whole class: read once, and checked.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{IngressClass, IngressClassParametersReference};

use super::{backends, tls_policy};
use crate::api;
use crate::model::{BackendId, Kind, ObjectRef, Problem, TlsPolicy};
use crate::source::Index;

/// What they say of a class. Without parameters, or where they say nothing: the default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Parameters {
    /// The object; `None` without one.
    pub(super) name: Option<Arc<ObjectRef>>,
    /// The Services on whose listeners alone the class answers.
    pub(super) services: Option<BTreeSet<ObjectRef>>,
    /// The Secret with the certificate for hosts that have none.
    pub(super) certificate: Option<ObjectRef>,
    /// Where requests go that nothing else matches.
    pub(super) backend: Option<BackendId>,
    /// What handshakes may agree on.
    pub(super) tls: Option<TlsPolicy>,
    /// Whether routes may lead to Services of type ExternalName.
    pub(super) allow_external_name: Option<bool>,
}

impl Parameters {
    /// Those that a class refers to. `Err` says why they cannot be read.
    pub(super) fn of_class(
        class: &IngressClass,
        index: &Index,
        problems: &mut Vec<Problem>,
    ) -> Result<Self, String> {
        let Some(reference) = class.spec.as_ref().and_then(|spec| spec.parameters.as_ref()) else {
            return Ok(Self::default());
        };
        let spec = &find(reference, index)?.spec;
        let name = ObjectRef::new(Kind::IngressParameters, "", reference.name.as_str());
        Ok(Self {
            services: spec.services.as_ref().map(|services| named(&name, services, index, problems)),
            certificate: spec.default_certificate.as_ref().and_then(|named| {
                secret(named).map_err(|part| problems.push(missing(&name, "defaultCertificate", part))).ok()
            }),
            backend: spec.default_backend.as_ref().and_then(|named| {
                backend(named).map_err(|part| problems.push(missing(&name, "defaultBackend", part))).ok()
            }),
            tls: spec.tls.as_ref().and_then(|settings| tls_policy::translate(&name, settings, problems)),
            allow_external_name: spec.allow_external_name,
            name: Some(Arc::new(name)),
        })
    }
}

fn find<'a>(
    reference: &IngressClassParametersReference,
    index: &'a Index,
) -> Result<&'a api::IngressParameters, String> {
    let kind = Kind::IngressParameters.as_str();
    if reference.api_group.as_deref() != Some(api::GROUP) || reference.kind != kind {
        return Err(format!("only {kind} of the group {} can be named here", api::GROUP));
    }
    if reference.scope.as_deref() == Some("Namespace") {
        return Err(format!("{kind} are cluster-scoped: leave out scope and namespace"));
    }
    let parameters = index.ingress_parameters(&reference.name);
    parameters.ok_or_else(|| format!("there are no {kind} {:?}", reference.name))
}

fn named(
    name: &ObjectRef,
    services: &[api::ServiceRef],
    index: &Index,
    problems: &mut Vec<Problem>,
) -> BTreeSet<ObjectRef> {
    let of = |service: &api::ServiceRef| {
        ObjectRef::new(Kind::Service, service.namespace.as_str(), service.name.as_str())
    };
    let services: BTreeSet<_> = services.iter().map(of).collect();
    for service in services.iter().filter(|service| index.service(service).is_none()) {
        problems.push(Problem::error(name, "spec.services", format!("{service} does not exist")));
    }
    services
}

/// `Err` names the part that is empty.
fn secret(named: &api::SecretRef) -> Result<ObjectRef, &'static str> {
    let (namespace, name) = (filled(&named.namespace, "namespace")?, filled(&named.name, "name")?);
    Ok(ObjectRef::new(Kind::Secret, namespace, name))
}

fn backend(named: &api::DefaultBackend) -> Result<BackendId, &'static str> {
    let (namespace, service) = (filled(&named.namespace, "namespace")?, filled(&named.name, "name")?);
    let port = backends::port(Some(&named.port)).ok_or("port")?;
    Ok(BackendId { namespace: namespace.to_owned(), service: service.to_owned(), port })
}

fn filled<'a>(text: &'a str, part: &'static str) -> Result<&'a str, &'static str> {
    if text.is_empty() { Err(part) } else { Ok(text) }
}

fn missing(name: &ObjectRef, field: &str, part: &str) -> Problem {
    let message = match part {
        "port" => "is missing: give its name or number; the setting has no effect",
        _ => "is empty: the setting has no effect",
    };
    Problem::error(name, format!("spec.{field}.{part}"), message)
}
