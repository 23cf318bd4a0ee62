//! The reasons of our Events: a closed set, which people and alerts can rely on.

use crate::model::{Cause, Kind, Problem};

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
    /// An annotation: of another controller, misplaced, or with a value that cannot be read.
    Annotation,
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
    /// A node that goes by another flow key than the members, or was given one.
    FlowKey,
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
            Self::Annotation => "UnsupportedAnnotation",
            Self::Vip => "InvalidVIP",
            Self::Port => "InvalidPort",
            Self::NoMember => "NotAMember",
            Self::AllDrain => "AllNodesDrain",
            Self::History => "InvalidHistory",
            Self::Diverging => "RowsDiverge",
            Self::FlowKey => "FlowKeyDiffers",
            Self::Other => "InvalidField",
        }
    }

    /// That of a problem: by its cause, then by its object and field.
    pub(super) fn of(problem: &Problem) -> Self {
        let Problem { field, object, cause, .. } = problem;
        let kind = object.as_ref().map(|object| object.kind);
        let has = |parts: &[&str]| parts.iter().any(|part| field.contains(part));
        match (cause, kind) {
            (Cause::AllDrain, _) => Self::AllDrain,
            (Cause::Diverging, _) => Self::Diverging,
            (Cause::FlowKey, _) => Self::FlowKey,
            (_, Some(Kind::EdgeMembership)) => Self::History,
            (_, Some(Kind::Node)) if has(&["metadata.annotations"]) => Self::Other,
            (_, Some(Kind::Node)) => Self::NoMember,
            (Cause::Conflict, _) => Self::Conflict,
            (Cause::Field, Some(Kind::Secret)) => Self::Certificate,
            (Cause::Field, Some(Kind::IngressClass | Kind::IngressParameters)) => Self::Class,
            _ if has(&["ingressClassName", "ingress.class"]) => Self::Class,
            (_, Some(Kind::Ingress)) if has(&["metadata.annotations"]) => Self::Annotation,
            // Those of a Service's VIPs are told without brackets.
            (_, Some(Kind::Service)) if has(&["metadata.annotations["]) => Self::Annotation,
            _ if has(&["spec.tls"]) => Self::Certificate,
            (Cause::Field, Some(Kind::EndpointSlice)) => Self::Backend,
            _ if has(&["ackend"]) => Self::Backend,
            _ if has(&["spec.rules"]) => Self::Route,
            _ if has(&["metadata.annotations", "loadBalancerIP", "externalIPs"]) => Self::Vip,
            _ if has(&["spec.ports", "spec.selector"]) => Self::Port,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectRef;

    #[track_caller]
    fn check(kind: Kind, field: &str, cause: Cause, expected: &str) {
        let problem = Problem::error(&ObjectRef::new(kind, "", "x"), field, "no").because(cause);
        assert_eq!(Reason::of(&problem).as_str(), expected, "{kind:?} {field} {cause:?}");
    }

    #[test]
    fn reasons_follow_from_object_and_field() {
        for (kind, field, expected) in [
            (Kind::Ingress, "spec.rules[0].http.paths[1].path", "InvalidRoute"),
            (Kind::Ingress, "spec.rules[0].host", "InvalidRoute"),
            (Kind::Ingress, "spec.rules[0].http.paths[1].backend.service.name", "BackendUnavailable"),
            (Kind::Ingress, "spec.defaultBackend", "BackendUnavailable"),
            (Kind::Ingress, "spec.tls[0].secretName", "CertificateUnavailable"),
            (Kind::Ingress, "spec.ingressClassName", "InvalidClass"),
            (Kind::Ingress, "spec", "InvalidField"),
            (Kind::Ingress, "metadata.annotations.kubernetes.io/ingress.class", "InvalidClass"),
            (Kind::Ingress, "metadata.annotations", "UnsupportedAnnotation"),
            (
                Kind::Ingress,
                "metadata.annotations.nginx.ingress.kubernetes.io/auth-url",
                "UnsupportedAnnotation",
            ),
            (Kind::Secret, "data", "CertificateUnavailable"),
            (Kind::Service, "metadata.annotations.edgelb.dev/vips", "InvalidVIP"),
            (Kind::Service, "metadata.annotations", "InvalidVIP"),
            (Kind::Service, "metadata.annotations[edgelb.dev/backend-protocol]", "UnsupportedAnnotation"),
            (Kind::Service, "spec.ports[1]", "InvalidPort"),
            (Kind::IngressClass, "spec.parameters", "InvalidClass"),
            (Kind::Node, "status.addresses", "NotAMember"),
            (Kind::Node, "", "NotAMember"),
            (Kind::Node, "metadata.annotations[edgelb.dev/weight]", "InvalidField"),
            (Kind::EdgeMembership, "spec.generations[0].members[1].id", "InvalidHistory"),
        ] {
            check(kind, field, Cause::Field, expected);
        }
    }

    #[test]
    fn a_cause_says_more_than_the_field() {
        for (kind, field, cause, expected) in [
            (Kind::Ingress, "spec.rules[0].http.paths[1].path", Cause::Conflict, "Conflict"),
            (Kind::Ingress, "spec.tls[0]", Cause::Conflict, "Conflict"),
            (Kind::IngressParameters, "spec.defaultCertificate", Cause::Conflict, "Conflict"),
            (Kind::Service, "spec.ports[1]", Cause::Conflict, "Conflict"),
            (Kind::Service, "metadata.annotations.edgelb.dev/vips", Cause::Conflict, "Conflict"),
            // What comes of it says more.
            (Kind::Node, "status.addresses", Cause::Conflict, "NotAMember"),
            (Kind::Node, "", Cause::Diverging, "RowsDiverge"),
            (Kind::Node, "", Cause::FlowKey, "FlowKeyDiffers"),
            (Kind::Node, "spec.unschedulable", Cause::AllDrain, "AllNodesDrain"),
            (Kind::Node, "", Cause::AllDrain, "AllNodesDrain"),
        ] {
            check(kind, field, cause, expected);
        }
    }
}
