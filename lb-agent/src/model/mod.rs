//! State: plain data that every stage agrees on, equal on all nodes that hold the same objects.
//! No Kubernetes, BPF, socket or HTTP-library types here, and no behaviour beyond asking the data.

mod backend;
mod capture;
mod certificate;
mod change;
mod draining;
mod edge_node;
mod ejection;
mod flow_keys;
mod following;
mod generation;
mod health_check;
mod history;
mod holder;
mod holdings;
mod host;
mod loaded;
mod member;
mod object;
mod path;
mod peer;
mod problem;
mod report;
mod request_explained;
mod route;
mod secret_bytes;
mod service;
mod shared_map;
mod snapshot;
mod sticky;
mod times;
mod tls;
mod turn;

pub use backend::{
    Backend, BackendId, BackendPort, BackendProtocol, BackendTls, HashBy, Identity, Policy, ProxyVersion,
    Treatment, Unavailable,
};
pub use capture::{CaptureEnd, CaptureFilter, CaptureProtocol, Captured, Hop, InvalidEnd};
pub use certificate::{Certificate, Chain, KeyKind, Staple};
pub use change::changes;
pub use draining::{ConnectionKind, DRAIN_SECONDS, DrainProgress, DrainedBy, Draining, LAST_WORDS, Left};
pub use edge_node::{Drain, EdgeNode};
pub use ejection::Ejection;
pub use flow_keys::{DOUBTED, FlowKeys, Followed, KeyPrints, Roll};
pub use following::{Basis, Condition, Following, Watch};
pub use generation::{Generation, Mark, Step};
pub use health_check::{CheckResult, CheckState, HealthCheck};
pub use history::History;
pub use holder::Holder;
pub use holdings::Holdings;
pub use host::{Host, HostPattern, InvalidHost};
pub use loaded::Loaded;
pub use member::Member;
pub use object::{Kind, ObjectRef};
pub use path::{InvalidPath, PathKind, PathRule, plain_path};
pub use peer::{Heard, NO_NEW_FLOWS_THERE, Peer, PeerState, Peers};
pub use problem::{Cause, Origin, Problem, Problems, Severity, contested_path};
pub use report::{Published, Report};
pub use request_explained::{
    BackendExplained, CertificateExplained, CertificateOffered, CertificateReason, EndpointExplained,
    EndpointState, ListenerExplained, MatchedAs, ReplyExplained, RequestAsked, RequestExplained,
    RouteExplained, RouteReason, TlsExplained, TreatmentExplained,
};
pub use route::{DefaultBackend, HostRoutes, RouteTable, Rule};
pub use secret_bytes::SecretBytes;
pub use service::{Listener, ListenerProtocol, MOST_SERVICES, Protocol, Service, ServiceAddress};
pub use shared_map::{Difference, SharedMap};
pub use snapshot::Snapshot;
pub use sticky::{SameSite, Sticky};
pub use times::{RequestLimits, Retries, Times};
pub use tls::{CipherSuite, TlsPolicy, TlsVersion};
pub use turn::Turn;
