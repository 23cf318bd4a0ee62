//! `IngressParameters`, group `edgelb.dev/v1alpha1`, cluster-scoped: what holds for a whole IngressClass.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ClusterResourceScope, Metadata, Resource};
use serde::{Deserialize, Serialize};

/// Parameters that an IngressClass refers to in `spec.parameters`.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct IngressParameters {
    /// Its name; it has no namespace, as an IngressClass has none.
    pub metadata: ObjectMeta,
    /// What it asks for.
    pub spec: IngressParametersSpec,
}

/// The wishes of `IngressParameters`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct IngressParametersSpec {
    /// The Services whose listeners answer the class's routes, and no others; absent: as without parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<ServiceRef>>,
}

/// A Service by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
pub struct ServiceRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Resource for IngressParameters {
    const API_VERSION: &'static str = super::API_VERSION;
    const GROUP: &'static str = super::GROUP;
    const KIND: &'static str = "IngressParameters";
    const VERSION: &'static str = super::VERSION;
    const URL_PATH_SEGMENT: &'static str = "ingressparameters";
    type Scope = ClusterResourceScope;
}

impl Metadata for IngressParameters {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
