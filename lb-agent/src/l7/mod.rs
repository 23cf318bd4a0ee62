//! Request -> pod: listeners, TLS, match, balance, pool, forward, reply. Knows `model`, nothing of BPF.
//!
//! The life of a request: `worker` accepts its connection, `connection` speaks TLS and HTTP with the client,
//! `forward` settles its host (`authority`), path (`path_policy`) and headers (`headers`), asks the `router` of
//! the current `live` state for a `target`, and has it sent to one of its `candidates` (`attempts`), over an `endpoint` connection of that
//! one's `pool`; the response streams back as an `exchange`. What the proxy answers by itself is in `reply`.
//!
//! What clients may send is in `guard`, which sees their bytes before the HTTP library does; how much, in `limits`.
//!
//! How a connection ends when the node gives up its flows is in `drain`.
//!
//! All of a worker's state is its own: no lock is taken on the way of a request.

mod admission;
mod attempts;
mod authority;
mod balance;
mod body;
mod budget;
mod candidates;
mod client;
mod coalesce;
mod config;
mod connection;
mod deadline;
mod descriptors;
mod drain;
mod ejection;
mod endpoint;
mod exchange;
mod forward;
mod forwarded;
mod frames;
mod guard;
mod headers;
mod host_map;
mod http1;
mod http2;
mod kept;
mod limits;
mod listen;
mod live;
mod overload;
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
mod reading;
mod refuse;
mod reply;
mod request_id;
pub mod router;
mod sniff;
mod target;
mod tls;
mod trust;
mod tunnel;
mod upload;
mod upstream;
mod upstreams;
mod worker;

pub use config::{Bind, Config, Timeouts};
pub use ejection::{Ejection, Fault};
pub use guard::Malformed;
pub use limits::{Limit, Limits, Setting, SettingError};
pub use listen::{ListenError, SteeredSocket};
pub use proxy::{Proxy, StartError};
pub use reply::Reply;
pub use tls::TlsError;
pub use trust::Trust;
