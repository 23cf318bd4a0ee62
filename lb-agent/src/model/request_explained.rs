//! A request that somebody asks about, and what becomes of it, as `lb-agent explain` tells it. Fields are JSON's, and
//! keep their names from version to version.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::CheckState;

/// The request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestAsked {
    /// Its Host header.
    pub host: String,
    /// Its path, with a query perhaps.
    pub path: String,
    /// Its method.
    pub method: String,
    /// Its other headers.
    pub headers: Vec<(String, String)>,
    /// The name that the client asks for in the TLS handshake, empty for none; `None`: the host, as clients do.
    pub sni: Option<String>,
    /// Who connects: a client, or a proxy in front of us.
    pub from: Option<IpAddr>,
    /// The listener; `None` for all of them.
    pub to: Option<SocketAddr>,
}

/// What becomes of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestExplained {
    /// What was asked.
    pub request: RequestAsked,
    /// The generation of the snapshot that was asked; 0 for a folder.
    pub generation: u64,
    /// By listener; those that cannot differ stand together.
    pub listeners: Vec<ListenerExplained>,
}

/// What becomes of it at some listeners.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListenerExplained {
    /// Where they listen.
    pub addresses: Vec<SocketAddr>,
    /// `http` or `https`.
    pub protocol: String,
    /// The objects that ask for them.
    pub objects: Vec<String>,
    /// The classes whose routes are there.
    pub classes: Vec<String>,
    /// What the client sees in the handshake; `None` in the clear.
    pub certificate: Option<CertificateExplained>,
    /// What handshakes may agree on; `None` in the clear.
    pub tls: Option<TlsExplained>,
    /// What a client hears instead that asked for `sni` and speaks HTTP/2, where one connection may be for several hosts.
    pub on_http2: Option<ReplyExplained>,
    /// Why the proxy answers by itself; `None` if it forwards.
    pub reply: Option<ReplyExplained>,
    /// The host and path that are matched.
    pub matched: Option<MatchedAs>,
    /// The route that wins.
    pub winner: Option<RouteExplained>,
    /// Those that do not, the most specific first.
    pub losers: Vec<RouteExplained>,
    /// How many more rules the host has, where none of them matches.
    pub more_losers: usize,
    /// Where it goes.
    pub backend: Option<BackendExplained>,
    /// What the endpoint gets: request line and headers; empty if the proxy does not forward.
    pub forwarded: Vec<String>,
}

/// What a request is matched by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MatchedAs {
    /// The host, without its port, in lower case.
    pub host: String,
    /// The path as it is forwarded.
    pub path: String,
}

/// What a handshake may agree on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TlsExplained {
    /// Versions of TLS, the oldest first.
    pub versions: Vec<String>,
    /// By their names in IANA's registry.
    pub cipher_suites: Vec<String>,
}

/// A certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CertificateExplained {
    /// The name that is asked for; empty for none.
    pub sni: String,
    /// Why this one.
    pub why: CertificateReason,
    /// The host in `spec.tls` that it stands at; `None` for the self-signed one.
    pub pattern: Option<String>,
    /// One for each kind of key: an elliptic curve first, where the client can verify it.
    pub offered: Vec<CertificateOffered>,
}

/// One that is offered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CertificateOffered {
    /// Its Secret.
    pub secret: String,
    /// `ecdsa` or `rsa`.
    pub key: String,
    /// The names in it.
    pub names: Vec<String>,
    /// Whether one of them covers what is asked for: otherwise clients complain.
    pub covers: bool,
    /// End of validity, seconds since the Unix epoch.
    pub not_after: i64,
}

/// Why a certificate is shown, the strongest reason first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateReason {
    /// It is for this very name.
    Exact,
    /// It is for all names below its parent.
    Wildcard,
    /// It is the default of a class or of the operator, or of a section without hosts.
    Default,
    /// There is none: clients see the self-signed one.
    SelfSigned,
}

/// A reply of the proxy itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplyExplained {
    /// The status code.
    pub status: u16,
    /// The label of the metric `lb_l7_replies`.
    pub reason: String,
    /// What the client reads.
    pub text: String,
}

/// A route.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RouteExplained {
    /// The host it stands at; `None` for the default backend of the listener.
    pub host: Option<String>,
    /// `Exact` or `Prefix`, with the path; `None` for a default backend.
    pub path: Option<String>,
    /// The object it stands in.
    pub object: String,
    /// Where it leads; `None` where that was not looked at.
    pub backend: Option<String>,
    /// Why it wins, or loses.
    pub why: RouteReason,
    /// The same in words, where the words say more.
    pub words: Option<String>,
}

/// Why a route wins or loses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteReason {
    /// It wins: of its host's rules that match, it is the most specific.
    Rule,
    /// It wins: no rule of the host matches, and this is the host's default backend.
    HostDefault,
    /// It wins: the host has no rule that matches, and this is everybody's default backend.
    ListenerDefault,
    /// It matches, but another rule of the host is more specific.
    LessSpecificPath,
    /// A rule of the host matches, so its default backend is not asked.
    NotNeeded,
    /// Its host matches, but another pattern is more specific, and that one alone is asked.
    LessSpecificHost,
    /// Somebody older has the same host and path.
    Younger,
    /// It is of this host, but its path does not match.
    OtherPath,
}

/// A backend.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackendExplained {
    /// Namespace, Service and port.
    pub service: String,
    /// What its endpoints speak: http, https, h2c or h2.
    pub protocol: String,
    /// Why it takes no requests.
    pub unavailable: Option<String>,
    /// Those that get new requests.
    pub endpoints: Vec<EndpointExplained>,
    /// How they get them; an agent of before does not say it.
    #[serde(default)]
    pub treatment: Option<TreatmentExplained>,
}

/// How a request gets to an endpoint, and what is done where it does not go well. Times are in milliseconds.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct TreatmentExplained {
    /// By which rule one of them is chosen, as annotations have it.
    pub load_balance: String,
    /// What the key is made of, where requests with the same one go to the same endpoint.
    pub hash_by: Vec<String>,
    /// The cookie that the client is given to come back to it, but for its value.
    pub sticky: Option<String>,
    /// For a connection.
    pub connect: u64,
    /// To the head of the response, of one try.
    pub attempt: u64,
    /// The same, of all of them together.
    pub request: u64,
    /// For the endpoint to take the next part of the request.
    pub send: u64,
    /// To the next part of the response; `None` for no limit.
    pub read: Option<u64>,
    /// Tries of an endpoint that may have seen it, all in all: one where it must not be seen twice.
    pub tries: u32,
    /// None begins later.
    pub within: Option<u64>,
    /// When another endpoint is asked: connect, error, timeout, and statuses.
    pub retried_on: Vec<String>,
    /// Requests that may be under way at one endpoint.
    pub endpoint_requests: u64,
    /// Those that may wait where all endpoints have so many.
    pub pending_requests: u64,
    /// For so long.
    pub pending_time: u64,
    /// What endpoints are asked to see whether they are well.
    pub health_check: Option<String>,
    /// When one that fails is set aside; an agent of before does not say it.
    #[serde(default)]
    pub ejection: Option<String>,
}

/// An endpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndpointExplained {
    /// Its address.
    pub address: SocketAddr,
    /// What the proxy knows of it; `None` where no agent was asked.
    pub state: Option<EndpointState>,
}

/// What the proxy's workers know of an endpoint, summed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct EndpointState {
    /// Workers that have sent it requests, and follow it since.
    pub known_by: u32,
    /// Workers that have set it aside because it failed.
    pub ejected_by: u32,
    /// Requests under way.
    pub requests: u32,
    /// Idle connections.
    pub idle: u32,
    /// How it does by its health checks, where it has some.
    pub check: Option<CheckState>,
}
