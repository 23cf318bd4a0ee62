//! Request -> pod: listeners, TLS, match, balance, pool, forward, reply. Knows `model`, nothing of BPF.
//!
//! The life of a request: `worker` accepts its connection, `connection` speaks TLS and HTTP with the client,
//! `forward` settles its host and path (`settle`) and headers (`headers`), asks the `router` of
//! the current `live` state for a `target`, and has it sent to one of its `candidates` (`attempts`), over an `endpoint` connection of that
//! one's `pool`; the response streams back as an `exchange`, by `splice` if it is long. To an endpoint that speaks HTTP/2 it goes as a `stream` of one
//! that is shared (`multiplex`); TLS below either is in `secured`. What the proxy answers by itself is in `reply`, and for
//! gRPC in `grpc`.
//!
//! How endpoints break the rules is in `breach`.
//!
//! What clients may send is in `guard`, which sees their bytes before the HTTP library does; how much, in `limits`.
//!
//! How a connection ends when the node gives up its flows is in `drain`.
//!
//! All of a worker's state is its own: no lock is taken on the way of a request.

mod accept;
pub mod access_log;
mod account;
mod admission;
mod allowed;
mod attempts;
mod authority;
mod balance;
mod body;
mod breach;
mod budget;
mod by_host;
mod candidates;
mod checks;
mod client;
mod coalesce;
mod config;
mod connection;
mod counted;
mod date;
mod deadline;
mod descriptors;
mod drain;
mod ejection;
mod endpoint;
mod exchange;
mod explain;
mod forward;
mod forwarded;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
mod grpc;
mod guard;
mod headers;
mod host_map;
mod http1;
mod http2;
mod in_use;
mod inbox;
mod incoming;
mod keepalive;
mod last_words;
mod limits;
mod line;
mod listen;
mod live;
mod moment;
mod multiplex;
mod news;
mod observer;
mod outcome;
mod outgoing;
mod overload;
mod parts;
mod path_index;
mod path_policy;
mod path_readings;
mod pending;
mod phase;
mod policy;
mod pool;
mod proxy;
mod proxy_header;
mod pump;
mod quiet;
mod reading;
mod refusals;
mod refuse;
mod reply;
mod request_id;
mod route;
pub mod router;
mod secured;
mod segment;
mod send_proxy;
mod settle;
mod shortage;
mod sniff;
mod splice;
mod sticky;
mod stream;
mod target;
mod tls;
pub mod trace;
mod tries;
mod trust;
mod tunnel;
mod upload;
mod upstream;
mod upstreams;
mod worker;

pub use accept::AcceptFailure;
pub use breach::Breach;
pub use config::{Bind, Config, DEFAULT_ROUTE_METRICS, Timeouts, UPSTREAM_KEEPALIVE};
pub use ejection::Offence;
pub use explain::{NoRequest, explain};
pub use grpc::CallEnd;
pub use guard::Malformed;
pub use last_words::LastWords;
pub use limits::{Limit, Limits, Setting, SettingError};
pub use listen::{ListenError, SteeredSocket};
pub use observer::Observer;
pub use proxy::{Ending, Proxy, StartError};
pub use reply::{Blame, Reply};
pub use secured::EndpointTlsFailure;
pub use shortage::Shortage;
pub use tls::{HandshakeFailure, Tickets, TlsError};
pub use trust::Trust;
