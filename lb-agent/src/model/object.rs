//! The name of a Kubernetes object, as people say it: `Ingress shop/web`.

use std::fmt;

/// The kinds that edgelb reads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// `v1`
    Node,
    /// `v1`
    Service,
    /// `discovery.k8s.io/v1`
    EndpointSlice,
    /// `networking.k8s.io/v1`
    IngressClass,
    /// `networking.k8s.io/v1`
    Ingress,
    /// `v1`
    Secret,
    /// `v1`
    ConfigMap,
    /// `edgelb.dev/v1alpha1`
    IngressParameters,
    /// `edgelb.dev/v1alpha1`
    EdgeMembership,
}

impl Kind {
    /// All of them, in the order in which they are read.
    pub const ALL: [Self; 9] = [
        Self::Node,
        Self::Service,
        Self::EndpointSlice,
        Self::IngressClass,
        Self::Ingress,
        Self::Secret,
        Self::ConfigMap,
        Self::IngressParameters,
        Self::EdgeMembership,
    ];

    /// Whether objects of this kind live in a namespace.
    #[must_use]
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Node | Self::IngressClass | Self::IngressParameters | Self::EdgeMembership)
    }

    /// The `kind:` of a manifest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "Node",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::IngressClass => "IngressClass",
            Self::Ingress => "Ingress",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::IngressParameters => "IngressParameters",
            Self::EdgeMembership => "EdgeMembership",
        }
    }
}

/// Which object: enough to find it with `kubectl get`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for kinds without one.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectRef {
    /// The object `namespace/name` of a kind; pass an empty namespace for kinds without one.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        f.write_str(" ")?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_as_people_say_them() {
        assert_eq!(ObjectRef::new(Kind::Ingress, "shop", "web").to_string(), "Ingress shop/web");
        assert_eq!(ObjectRef::new(Kind::Node, "", "edge-1").to_string(), "Node edge-1");
    }
}
