//! `appProtocol` of a Service's port, and an annotation of an Ingress that stands above it -> what is spoken with
//! endpoints. What is not known is never taken for HTTP: the owner hears of it, and requests get 500.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::api::networking::v1::Ingress;

use crate::model::{BackendProtocol, BackendTls, ObjectRef, Problem};
use crate::source::names;

/// A protocol that endpoints can be spoken to with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spoken {
    /// HTTP/1.1 in the clear.
    Http,
    /// The same over TLS.
    Https,
    /// HTTP/2 in the clear, by prior knowledge.
    H2c,
    /// The same over TLS.
    H2,
}

/// What an Ingress wants to be spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Choice {
    /// What the Service says.
    #[default]
    AsService,
    /// This.
    This(Spoken),
    /// Something that is not known.
    Unknown,
}

impl Spoken {
    /// The protocol, with these terms where it goes over TLS; none where they cannot be had.
    pub(super) fn with(self, tls: impl FnOnce() -> Option<BackendTls>) -> Option<BackendProtocol> {
        let tls = match self {
            Self::Https | Self::H2 => Some(Arc::new(tls()?)),
            Self::Http | Self::H2c => None,
        };
        Some(BackendProtocol { is_http2: matches!(self, Self::H2c | Self::H2), tls, proxy_header: None })
    }
}

/// By a port's `appProtocol`: the names of Kubernetes (KEP-3726, and its API text of `ServicePort`), and those that
/// gRPC has elsewhere. Else its value.
pub(super) fn of_port(port: &ServicePort) -> Result<Spoken, &str> {
    match port.app_protocol.as_deref().unwrap_or_default() {
        "" | "http" | "kubernetes.io/ws" => Ok(Spoken::Http),
        "https" | "kubernetes.io/wss" => Ok(Spoken::Https),
        "kubernetes.io/h2c" | "h2c" | "grpc" => Ok(Spoken::H2c),
        "h2" | "grpcs" => Ok(Spoken::H2),
        other => Err(other),
    }
}

/// By the annotations of an Ingress: ours stands above that of ingress-nginx.
pub(super) fn choice(name: &ObjectRef, ingress: &Ingress, problems: &mut Vec<Problem>) -> Choice {
    let annotations = ingress.metadata.annotations.iter().flatten();
    let mut found = annotations.filter(|(key, _)| names::BACKEND_PROTOCOL.contains(&key.as_str()));
    // `edgelb.dev` sorts before `nginx.ingress`.
    let Some((key, value)) = found.next() else { return Choice::AsService };
    match value.trim().to_ascii_uppercase().as_str() {
        "HTTP" => Choice::This(Spoken::Http),
        "HTTPS" => Choice::This(Spoken::Https),
        "H2C" | "GRPC" => Choice::This(Spoken::H2c),
        "H2" | "GRPCS" => Choice::This(Spoken::H2),
        _ => {
            let message = format!("{value:?} is none of HTTP, HTTPS, GRPC, GRPCS, H2C, H2: requests get 500");
            problems.push(Problem::error(name, format!("metadata.annotations[{key}]"), message));
            Choice::Unknown
        }
    }
}

/// What is wrong with the `appProtocol` of a Service's port.
pub(super) fn unknown(service: &ObjectRef, at: usize, value: &str) -> Problem {
    let message = format!(
        "{value:?} is none of http, https, kubernetes.io/h2c, kubernetes.io/ws, kubernetes.io/wss, grpc, grpcs, h2c, \
         h2: requests get 500, but for Ingresses that name a protocol by the annotation {}",
        names::BACKEND_PROTOCOL[0]
    );
    Problem::error(service, format!("spec.ports[{at}].appProtocol"), message)
}

#[cfg(test)]
mod tests;
