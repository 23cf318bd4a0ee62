//! State: plain data that every stage agrees on, equal on all nodes that hold the same objects.
//! No Kubernetes, BPF, socket or HTTP-library types here, and no behaviour beyond asking the data.

mod backend;
mod certificate;
mod draining;
mod edge_node;
mod flow_keys;
mod following;
mod generation;
mod history;
mod holdings;
mod host;
mod loaded;
mod member;
mod object;
mod path;
mod peer;
mod problem;
mod report;
mod route;
mod service;
mod shared_map;
mod snapshot;
mod turn;

pub use backend::{Backend, BackendId, BackendPort, Unavailable};
pub use certificate::{Certificate, Chain, KeyKind, PrivateKey};
pub use draining::{ConnectionKind, DrainProgress, Draining, LAST_WORDS, Left};
pub use edge_node::{Drain, EdgeNode};
pub use flow_keys::FlowKeys;
pub use following::{Basis, Condition, Following, Watch};
pub use generation::{Generation, Mark, Step};
pub use history::History;
pub use holdings::Holdings;
pub use host::{Host, HostPattern, InvalidHost};
pub use loaded::Loaded;
pub use member::Member;
pub use object::{Kind, ObjectRef};
pub use path::{InvalidPath, PathKind, PathRule, plain_path};
pub use peer::{Heard, Peer, PeerState, Peers};
pub use problem::{Cause, Origin, Problem, Problems, Severity};
pub use report::{Published, Report};
pub use route::{HostRoutes, RouteTable, Rule};
pub use service::{Listener, ListenerProtocol, MOST_SERVICES, Protocol, Service, ServiceAddress};
pub use shared_map::{Difference, SharedMap};
pub use snapshot::Snapshot;
pub use turn::Turn;
