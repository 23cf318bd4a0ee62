//! An object as a source hands it in: one of the kinds that edgelb reads, without what nobody reads of it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::secret::CertificateSecret;
use super::strip;
use crate::api::{self, EdgeMembership, IngressParameters};
use crate::model::{Kind, ObjectRef};

/// An object of a kind that edgelb reads. Made by `From`, which strips it; cheap to clone.
#[derive(Clone, PartialEq, Debug)]
pub enum Object {
    /// An edge node, or another whose addresses no VIP may have.
    Node(Arc<Node>),
    /// A backend, or the VIPs and ports of our own.
    Service(Arc<Service>),
    /// Where a backend's pods are.
    EndpointSlice(Arc<EndpointSlice>),
    /// Whose Ingresses are whose.
    IngressClass(Arc<IngressClass>),
    /// Routes.
    Ingress(Arc<Ingress>),
    /// A certificate and its key.
    Secret(Arc<CertificateSecret>),
    /// Known, but nothing of it is read yet.
    ConfigMap(Arc<ConfigMap>),
    /// Which Services a class answers on.
    IngressParameters(Arc<IngressParameters>),
    /// Who owns flows, and who did.
    EdgeMembership(Arc<EdgeMembership>),
}

impl Object {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Node(_) => Kind::Node,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::IngressClass(_) => Kind::IngressClass,
            Self::Ingress(_) => Kind::Ingress,
            Self::Secret(_) => Kind::Secret,
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::IngressParameters(_) => Kind::IngressParameters,
            Self::EdgeMembership(_) => Kind::EdgeMembership,
        }
    }

    /// Its metadata.
    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Node(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::IngressClass(object) => &object.metadata,
            Self::Ingress(object) => &object.metadata,
            Self::Secret(object) => &object.metadata,
            Self::ConfigMap(object) => &object.metadata,
            Self::IngressParameters(object) => &object.metadata,
            Self::EdgeMembership(object) => &object.metadata,
        }
    }

    /// Whether the other one is a clone of this, which takes no look at the content to tell.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Node(one), Self::Node(other)) => Arc::ptr_eq(one, other),
            (Self::Service(one), Self::Service(other)) => Arc::ptr_eq(one, other),
            (Self::EndpointSlice(one), Self::EndpointSlice(other)) => Arc::ptr_eq(one, other),
            (Self::IngressClass(one), Self::IngressClass(other)) => Arc::ptr_eq(one, other),
            (Self::Ingress(one), Self::Ingress(other)) => Arc::ptr_eq(one, other),
            (Self::Secret(one), Self::Secret(other)) => Arc::ptr_eq(one, other),
            (Self::ConfigMap(one), Self::ConfigMap(other)) => Arc::ptr_eq(one, other),
            (Self::IngressParameters(one), Self::IngressParameters(other)) => Arc::ptr_eq(one, other),
            (Self::EdgeMembership(one), Self::EdgeMembership(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// Whether the other one asks for the same: all but what stands in the status of Services and Ingresses.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            _ if self.is_same(other) => true,
            (Self::Service(one), Self::Service(other)) => {
                strip::says_the_same(&one.metadata, &other.metadata) && one.spec == other.spec
            }
            (Self::Ingress(one), Self::Ingress(other)) => {
                strip::says_the_same(&one.metadata, &other.metadata) && one.spec == other.spec
            }
            _ => self == other,
        }
    }

    /// Its name.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        reference(self.kind(), self.metadata())
    }
}

/// The name of an object of `kind` with this metadata. A namespace on a kind without one does not count.
pub(super) fn reference(kind: Kind, metadata: &ObjectMeta) -> ObjectRef {
    let namespace =
        if kind.is_namespaced() { metadata.namespace.clone().unwrap_or_default() } else { String::new() };
    ObjectRef::new(kind, namespace, metadata.name.clone().unwrap_or_default())
}

/// The `apiVersion:` in which a kind is read.
pub(super) const fn api_version(kind: Kind) -> &'static str {
    match kind {
        Kind::Node | Kind::Service | Kind::Secret | Kind::ConfigMap => "v1",
        Kind::EndpointSlice => "discovery.k8s.io/v1",
        Kind::IngressClass | Kind::Ingress => "networking.k8s.io/v1",
        Kind::IngressParameters | Kind::EdgeMembership => api::API_VERSION,
    }
}

impl From<Node> for Object {
    fn from(object: Node) -> Self {
        Self::Node(Arc::new(strip::node(object)))
    }
}

impl From<Service> for Object {
    fn from(object: Service) -> Self {
        Self::Service(Arc::new(strip::service(object)))
    }
}

impl From<EndpointSlice> for Object {
    fn from(object: EndpointSlice) -> Self {
        Self::EndpointSlice(Arc::new(strip::endpoint_slice(object)))
    }
}

impl From<IngressClass> for Object {
    fn from(object: IngressClass) -> Self {
        Self::IngressClass(Arc::new(strip::ingress_class(object)))
    }
}

impl From<Ingress> for Object {
    fn from(object: Ingress) -> Self {
        Self::Ingress(Arc::new(strip::ingress(object)))
    }
}

impl From<Secret> for Object {
    fn from(object: Secret) -> Self {
        Self::Secret(Arc::new(strip::secret(object)))
    }
}

impl From<ConfigMap> for Object {
    fn from(object: ConfigMap) -> Self {
        Self::ConfigMap(Arc::new(strip::config_map(object)))
    }
}

impl From<IngressParameters> for Object {
    fn from(object: IngressParameters) -> Self {
        Self::IngressParameters(Arc::new(strip::ingress_parameters(object)))
    }
}

impl From<EdgeMembership> for Object {
    fn from(object: EdgeMembership) -> Self {
        Self::EdgeMembership(Arc::new(strip::edge_membership(object)))
    }
}
