//! `IngressParameters`, group `edgelb.dev/v1alpha1`, cluster-scoped: what holds for a whole IngressClass.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
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
