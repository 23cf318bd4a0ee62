//! `IngressParameters`, group `edgelb.dev/v1alpha1`, cluster-scoped: what holds for a whole IngressClass.

use k8s_openapi::api::networking::v1::ServiceBackendPort;
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
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressParametersSpec {
    /// The Services whose listeners answer the class's routes, and no others; absent: as without parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<ServiceRef>>,
    /// The Secret whose certificate answers for hosts that no `spec.tls` names, on listeners of this class;
    /// absent: the operator's `--default-certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_certificate: Option<SecretRef>,
    /// Where requests go that nothing else of the class matches; `spec.defaultBackend` of an Ingress wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_backend: Option<DefaultBackend>,
    /// Which versions and cipher suites of TLS clients may use on listeners of this class; absent: all that are built in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSettings>,
    /// Whether routes of the class may lead to Services of type ExternalName; absent: what
    /// `--allow-external-name` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_external_name: Option<bool>,
}

/// A Service by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
pub struct ServiceRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A Secret by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
pub struct SecretRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What handshakes may agree on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsSettings {
    /// The oldest version: `1.2`, as without the field, or `1.3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<String>,
    /// The cipher suites by IANA's names; absent: all that are built in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suites: Option<Vec<String>>,
}

/// A port of a Service, in any namespace: whoever may write parameters is the cluster's administrator.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
pub struct DefaultBackend {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// Its port, by `number` or by `name`, as in an Ingress.
    pub port: ServiceBackendPort,
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
