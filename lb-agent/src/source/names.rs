//! Labels, annotations and well-known values in objects: written once, and all that `strip` keeps.

use crate::model::Kind;

/// What our labels, annotations and taints begin with.
pub(super) const OURS: &str = "edgelb.dev/";

/// Label of Nodes that take part: `"true"`.
pub(super) const EDGE: &str = "edgelb.dev/edge";

/// Annotation of edge nodes: their share of new flows, in relation to others'.
pub(super) const WEIGHT: &str = "edgelb.dev/weight";

/// Taint of edge nodes that are to get no new flows, whatever its value and effect.
pub(super) const DRAIN: &str = "edgelb.dev/drain";

/// Annotation of our Services: their VIPs, separated by commas.
pub(super) const VIPS: &str = "edgelb.dev/vips";

/// Annotation of Services behind us: by which rule their endpoints get requests.
pub(super) const LOAD_BALANCE: &str = "edgelb.dev/load-balance";

/// Annotation of Services behind us: what of a request is the key to its endpoint.
pub(super) const HASH_BY: &str = "edgelb.dev/upstream-hash-by";

/// Annotation of Services behind us: the cookie by which clients come to the same endpoint again.
pub(super) const STICKY: &str = "edgelb.dev/sticky";

/// Annotation of Services behind us: how their endpoints are asked whether they are well.
pub(super) const HEALTH_CHECK: &str = "edgelb.dev/health-check";

/// Annotation of Services behind us: when endpoints that fail are set aside.
pub(super) const EJECTION: &str = "edgelb.dev/ejection";

/// Annotation of Services behind us: how long requests may take.
pub(super) const TIMES: &str = "edgelb.dev/timeouts";

/// Annotation of Services behind us: how many requests there may be at a time.
pub(super) const LIMITS: &str = "edgelb.dev/limits";

/// Annotation of Services behind us: what is tried again.
pub(super) const RETRIES: &str = "edgelb.dev/retries";

/// Annotation of Services behind us: the PROXY header that their endpoints want.
pub(super) const SEND_PROXY: &str = "edgelb.dev/send-proxy";

/// `spec.loadBalancerClass` of our Services, and `spec.controller` of our IngressClasses.
pub(super) const CONTROLLER: &str = "edgelb.dev/ingress";

/// The IngressClass that is shipped.
pub(super) const CLASS: &str = "edgelb";

/// Annotation of Ingresses from before `spec.ingressClassName`.
pub(super) const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";

/// What annotations of Ingresses begin with that ingress-nginx reads.
pub(super) const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// Annotation of Ingresses that ingress-nginx gives a part of another one's requests only: `"true"`.
pub(super) const CANARY: &str = "nginx.ingress.kubernetes.io/canary";

/// Annotations of Ingresses: what is spoken with endpoints. The first one counts.
pub(super) const BACKEND_PROTOCOL: [&str; 2] =
    ["edgelb.dev/backend-protocol", "nginx.ingress.kubernetes.io/backend-protocol"];

/// Annotation of Ingresses: how endpoints prove who they are.
pub(super) const BACKEND_TLS: &str = "edgelb.dev/backend-tls";

/// The same as ingress-nginx has it: a Secret, whether certificates are verified, by which name, and whether that is
/// asked for.
pub(super) const PROXY_SSL: [&str; 4] = [
    "nginx.ingress.kubernetes.io/proxy-ssl-secret",
    "nginx.ingress.kubernetes.io/proxy-ssl-verify",
    "nginx.ingress.kubernetes.io/proxy-ssl-name",
    "nginx.ingress.kubernetes.io/proxy-ssl-server-name",
];

/// Annotations of Ingresses by which ingress-nginx lets only some clients in.
pub(super) const GUARDS: [&str; 6] = [
    "nginx.ingress.kubernetes.io/auth-type",
    "nginx.ingress.kubernetes.io/auth-url",
    "nginx.ingress.kubernetes.io/auth-tls-secret",
    "nginx.ingress.kubernetes.io/whitelist-source-range",
    "nginx.ingress.kubernetes.io/allowlist-source-range",
    "nginx.ingress.kubernetes.io/denylist-source-range",
];

/// What follows `NGINX` in annotations of Ingresses that mean to us what they do to ingress-nginx.
pub(super) const OF_NGINX: [&str; 18] = [
    "affinity",
    "affinity-mode",
    "load-balance",
    "proxy-connect-timeout",
    "proxy-next-upstream",
    "proxy-next-upstream-timeout",
    "proxy-next-upstream-tries",
    "proxy-read-timeout",
    "proxy-send-timeout",
    "session-cookie-change-on-failure",
    "session-cookie-domain",
    "session-cookie-expires",
    "session-cookie-max-age",
    "session-cookie-name",
    "session-cookie-path",
    "session-cookie-samesite",
    "session-cookie-secure",
    "upstream-hash-by",
];

/// Annotation of the IngressClass that admission gives to Ingresses without one: `"true"`.
pub(super) const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// Label of EndpointSlices: the Service that they belong to.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Label of Nodes: where they stand.
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";

/// Annotation of Services: `Auto` where requests are to stay in a zone.
pub(super) const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";

/// Our annotations, by the kind of object of which they are read.
pub(super) const ANNOTATIONS: [(Kind, &[&str]); 3] = [
    (
        Kind::Service,
        &[VIPS, LOAD_BALANCE, HASH_BY, STICKY, HEALTH_CHECK, EJECTION, TIMES, RETRIES, LIMITS, SEND_PROXY],
    ),
    (Kind::Ingress, &[BACKEND_PROTOCOL[0], BACKEND_TLS]),
    (Kind::Node, &[WEIGHT]),
];

/// The other labels and annotations that are read, beside `BACKEND_PROTOCOL`, `PROXY_SSL`, `GUARDS` and `OF_NGINX`.
const METADATA: [&str; 7] = [EDGE, ZONE, TOPOLOGY_MODE, LEGACY_CLASS, CANARY, DEFAULT_CLASS, SERVICE_NAME];

/// Whether a label or annotation is read.
pub(super) fn is_read(key: &str) -> bool {
    let lists: [&[&str]; 4] = [&METADATA, &BACKEND_PROTOCOL, &PROXY_SSL, &GUARDS];
    let mut lists = lists.into_iter().chain(ANNOTATIONS.map(|(_, ours)| ours));
    let is_of_nginx = || key.strip_prefix(NGINX).is_some_and(|name| OF_NGINX.contains(&name));
    lists.any(|list| list.contains(&key)) || is_of_nginx()
}

/// The type of Secrets that hold a certificate.
pub(super) const TLS_TYPE: &str = "kubernetes.io/tls";

/// The key of such a Secret under which the chain stands, PEM.
pub(super) const TLS_CERTIFICATE: &str = "tls.crt";

/// The key under which the private key stands, PEM.
pub(super) const TLS_KEY: &str = "tls.key";

/// The key under which certificates of authorities may stand, PEM.
pub(super) const TLS_AUTHORITIES: &str = "ca.crt";

/// The key under which an OCSP response may stand that is shown with the certificate, DER.
pub(super) const TLS_STAPLE: &str = "tls.ocsp-staple";

/// The Secret of our own namespace that holds the keys that all edge nodes share.
pub(super) const KEYS: &str = "edgelb-keys";

/// Its key under which the flow hash's secret stands.
pub(super) const FLOW_KEY: &str = "flow";
