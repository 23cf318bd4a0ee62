//! The routes of a listener's classes, merged: conflicts are already settled here.

use std::sync::Arc;

use super::{Backend, Certificate, HostPattern, ObjectRef, PathRule, SharedMap, TlsPolicy};

/// One path of one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// What it matches.
    pub path: PathRule,
    /// Where its requests go.
    pub backend: Arc<Backend>,
    /// The Ingress that it stands in.
    pub ingress: Arc<ObjectRef>,
}

/// Where requests go that no rule matches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DefaultBackend {
    /// There.
    pub backend: Arc<Backend>,
    /// The Ingress that names it, or the IngressParameters.
    pub object: Arc<ObjectRef>,
}

/// What a host's requests can match.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostRoutes {
    /// Sorted by `path`: the first that matches wins.
    pub rules: Vec<Rule>,
    /// For paths that no rule matches: the `defaultBackend` of the oldest Ingress that names the host.
    pub default_backend: Option<DefaultBackend>,
}

/// All that the router and the TLS side of a listener need. Tables of two snapshots share what did not change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RouteTable {
    /// By host. A request's most specific pattern alone is asked: a miss there does not fall through.
    pub hosts: SharedMap<HostPattern, Arc<HostRoutes>>,
    /// For hosts that no pattern matches, and for matched ones without a default backend of their own.
    pub default_backend: Option<DefaultBackend>,
    /// By the hosts of `spec.tls`, at most one per kind of key; `Any` holds those of sections without hosts.
    pub certificates: SharedMap<HostPattern, Arc<[Arc<Certificate>]>>,
    /// What handshakes may agree on.
    pub tls: TlsPolicy,
}
