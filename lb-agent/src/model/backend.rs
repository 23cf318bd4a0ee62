//! Where a route sends requests: a port of a Service, and the endpoints behind it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderName;

use super::{Certificate, Chain, Ejection, HealthCheck, RequestLimits, Retries, Sticky, Times};

/// The port of a Service that an Ingress names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum BackendPort {
    /// By number.
    Number(u16),
    /// By name.
    Name(String),
}

impl fmt::Display for BackendPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Which port of which Service. Routes to the same one share one backend.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BackendId {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub service: String,
    /// Its port.
    pub port: BackendPort,
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.service, self.port)
    }
}

/// What is spoken with a backend's endpoints: HTTP/1.1 in the clear unless something else is asked for.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct BackendProtocol {
    /// HTTP/2, in the clear by prior knowledge, instead of HTTP/1.1.
    pub is_http2: bool,
    /// TLS below it.
    pub tls: Option<Arc<BackendTls>>,
    /// The PROXY header with which each connection begins; such a one is for one request.
    pub proxy_header: Option<ProxyVersion>,
}

/// How a PROXY header is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ProxyVersion {
    /// As text.
    V1,
    /// In binary.
    V2,
}

impl BackendProtocol {
    /// Its name, as annotations have it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match (self.is_http2, self.tls.is_some()) {
            (false, false) => "http",
            (false, true) => "https",
            (true, false) => "h2c",
            (true, true) => "h2",
        }
    }
}

/// TLS towards endpoints.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BackendTls {
    /// The name that is asked for by SNI, and by which certificates are verified.
    pub server_name: String,
    /// Whether it is not asked for.
    pub hides_name: bool,
    /// Certificates of authorities, in DER, by which those of endpoints are verified; without them they are not, as with
    /// ingress-nginx by default.
    pub authorities: Option<Chain>,
    /// What endpoints are shown that ask for it.
    pub identity: Option<Identity>,
}

impl BackendTls {
    /// With any certificate, and none of ours.
    #[must_use]
    pub const fn unverified(server_name: String) -> Self {
        Self { server_name, hides_name: false, authorities: None, identity: None }
    }

    /// Whether it is so but for the name.
    #[must_use]
    pub const fn is_usual(&self) -> bool {
        !self.hides_name && self.authorities.is_none() && self.identity.is_none()
    }
}

/// A certificate by which we prove who we are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity(pub Arc<Certificate>);

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.chain.hash(state);
    }
}

/// Why a backend cannot take requests. Each is a 503, but for those that nothing implements, which are a 500.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Unavailable {
    /// The Service does not exist.
    NoService,
    /// The Service has no such port.
    NoPort,
    /// It exists, but no endpoint is ready, and none that ends still serves.
    NoEndpoint,
    /// The Service is of type ExternalName, which is not switched on.
    ExternalName,
    /// The Ingress names a `resource` backend, which nothing implements.
    Unsupported,
    /// A protocol is asked for that nothing implements.
    UnknownProtocol,
    /// A Secret is missing, or of no use, by which endpoints are to be verified, or to know us.
    NoTrust,
}

impl Unavailable {
    /// For people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoService => "the Service does not exist",
            Self::NoPort => "the Service has no such port",
            Self::NoEndpoint => "no endpoint is ready, and none that ends still serves",
            Self::ExternalName => "the Service is of type ExternalName, which is not switched on",
            Self::Unsupported => "resource backends are not supported",
            Self::UnknownProtocol => "its protocol is not supported",
            Self::NoTrust => "a Secret cannot be had by which its endpoints are verified, or know us",
        }
    }
}

/// By which rule a backend's requests are shared out among its endpoints.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// To the one that answers sooner and has less to do, of two at random.
    #[default]
    PeakEwma,
    /// To all in turn.
    RoundRobin,
    /// To the one with fewer requests under way, of two at random.
    LeastRequest,
    /// To the same one as long as it is there, by all of these together; requests without any as with `PeakEwma`.
    Hash(Box<[HashBy]>),
}

impl Policy {
    /// Whether what a request says decides.
    #[must_use]
    pub const fn reads_requests(&self) -> bool {
        matches!(self, Self::Hash(_))
    }

    /// Its name, as annotations have it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PeakEwma => "peak_ewma",
            Self::RoundRobin => "round_robin",
            Self::LeastRequest => "least_request",
            Self::Hash(_) => "hash",
        }
    }
}

/// What of a request is the key to its endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HashBy {
    /// The client's address.
    Client,
    /// Path and query.
    Uri,
    /// The path alone.
    Path,
    /// The first parameter of the query with this name.
    Parameter(String),
    /// The first header of this name.
    Header(HeaderName),
    /// The first cookie of this name.
    Cookie(String),
}

impl fmt::Display for HashBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Uri => f.write_str("uri"),
            Self::Path => f.write_str("path"),
            Self::Parameter(name) => write!(f, "parameter:{name}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

/// How a backend's endpoints get requests.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Treatment {
    /// Who of them gets one.
    pub policy: Policy,
    /// How a client comes to the same one again, whatever the policy; not unless somebody wants it.
    pub sticky: Option<Arc<Sticky>>,
    /// How long requests may take.
    pub times: Times,
    /// What is tried again.
    pub retries: Retries,
    /// How many there may be at a time.
    pub limits: RequestLimits,
    /// How they are asked whether they are well; not at all unless somebody wants it.
    pub check: Option<Arc<HealthCheck>>,
    /// When one that fails is set aside; as is usual unless somebody wants it otherwise.
    pub ejection: Option<Ejection>,
}

/// A port of a Service with what stands behind it now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backend {
    /// Its name.
    pub id: BackendId,
    /// What its endpoints speak.
    pub protocol: BackendProtocol,
    /// How they get requests.
    pub treatment: Treatment,
    /// Endpoints that take new requests, the ready ones or, without any, those that end and still serve: sorted, without duplicates, or why there are none.
    pub endpoints: Result<Vec<SocketAddr>, Unavailable>,
}
