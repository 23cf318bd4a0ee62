//! The reasons of our Events: a closed set, which people and alerts can rely on.

use crate::model::{Kind, Problem};

/// In one word what is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    /// Another object has it already: a host's path, a port of a VIP, an address.
    Conflict,
    /// A Service behind an Ingress cannot take requests.
    Backend,
    /// A certificate, or the Secret that should hold one.
    Certificate,
    /// An IngressClass or its parameters.
    Class,
    /// A host or a path.
    Route,
    /// A VIP, or where one should come from.
    Vip,
    /// A port of a Service.
    Port,
    /// A node that cannot be a member.
    NoMember,
    /// A node that goes on though it is to drain: all are.
    AllDrain,
    /// The history of memberships.
    History,
    /// A node whose rows are not those of the others.
    Diverging,
    /// Whatever else.
    Other,
}

impl Reason {
    /// As Events have it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "Conflict",
            Self::Backend => "BackendUnavailable",
            Self::Certificate => "CertificateUnavailable",
            Self::Class => "InvalidClass",
            Self::Route => "InvalidRoute",
            Self::Vip => "InvalidVIP",
            Self::Port => "InvalidPort",
            Self::NoMember => "NotAMember",
            Self::AllDrain => "AllNodesDrain",
            Self::History => "InvalidHistory",
            Self::Diverging => "RowsDiverge",
            Self::Other => "InvalidField",
        }
    }

    /// That of a problem, by its object and field. A conflict is told by its message: it can be in any field.
    pub(super) fn of(problem: &Problem) -> Self {
        let Problem { field, message, object, .. } = problem;
        let kind = object.as_ref().map(|object| object.kind);
        let has = |parts: &[&str]| parts.iter().any(|part| field.contains(part));
        match kind {
            Some(Kind::EdgeMembership) => Self::History,
            Some(Kind::Node) if message.starts_with(ALL_DRAIN) => Self::AllDrain,
            Some(Kind::Node) if has(&["metadata.annotations"]) => Self::Other,
            Some(Kind::Node) if field.is_empty() => Self::Diverging,
            Some(Kind::Node) => Self::NoMember,
            _ if CONFLICTS.iter().any(|words| message.contains(words)) => Self::Conflict,
            Some(Kind::Secret) => Self::Certificate,
            Some(Kind::IngressClass | Kind::IngressParameters) => Self::Class,
            _ if has(&["ingressClassName", "ingress.class"]) => Self::Class,
            _ if has(&["spec.tls"]) => Self::Certificate,
            Some(Kind::EndpointSlice) => Self::Backend,
            _ if has(&["ackend"]) => Self::Backend,
            _ if has(&["spec.rules"]) => Self::Route,
            _ if has(&["edgelb.dev/vips", "loadBalancerIP", "externalIPs"]) => Self::Vip,
            _ if has(&["spec.ports", "spec.selector"]) => Self::Port,
            _ => Self::Other,
        }
    }
}

/// What is said of each node when all drain.
pub(super) const ALL_DRAIN: &str = "all edge nodes drain";

/// What the messages of conflicts have in common.
const CONFLICTS: [&str; 3] = ["older or first by name", "is already given", "gives way"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectRef;

    #[test]
    fn reasons_follow_from_object_and_field() {
        for (kind, field, message, expected) in [
            (
                Kind::Ingress,
                "spec.rules[0].http.paths[1].path",
                "it belongs to x, which is older or first by name",
                "Conflict",
            ),
            (Kind::Ingress, "spec.rules[0].http.paths[1].path", "not a path", "InvalidRoute"),
            (Kind::Ingress, "spec.rules[0].host", "not a host", "InvalidRoute"),
            (Kind::Ingress, "spec.rules[0].http.paths[1].backend.service.name", "no", "BackendUnavailable"),
            (Kind::Ingress, "spec.defaultBackend", "no", "BackendUnavailable"),
            (Kind::Ingress, "spec.tls[0].secretName", "no", "CertificateUnavailable"),
            (Kind::Ingress, "spec.ingressClassName", "no", "InvalidClass"),
            (Kind::Ingress, "spec", "no", "InvalidField"),
            (Kind::Secret, "data", "no", "CertificateUnavailable"),
            (Kind::Service, "metadata.annotations[edgelb.dev/vips]", "no", "InvalidVIP"),
            (Kind::Service, "spec.ports[1]", "no", "InvalidPort"),
            (
                Kind::Service,
                "spec.ports[1]",
                "it already belongs to x, which is older or first by name",
                "Conflict",
            ),
            (Kind::IngressClass, "spec.parameters", "no", "InvalidClass"),
            (Kind::Node, "status.addresses", "no", "NotAMember"),
            (Kind::Node, "", "no", "RowsDiverge"),
            (Kind::Node, "spec.unschedulable", "all edge nodes drain: no", "AllNodesDrain"),
            (Kind::Node, "", "all edge nodes drain: no", "AllNodesDrain"),
            (Kind::Node, "metadata.annotations[edgelb.dev/weight]", "no", "InvalidField"),
            (Kind::EdgeMembership, "spec.generations[0].members[1].id", "no", "InvalidHistory"),
        ] {
            let problem = Problem::error(&ObjectRef::new(kind, "", "x"), field, message);
            assert_eq!(Reason::of(&problem).as_str(), expected, "{kind:?} {field}");
        }
    }
}
