//! The proxy tier: requests through `l7::Proxy` on loopback, to backends that behave and to some that do not.
//! Needs no rights. Each file is one concern; `support` has the proxy, the backends and the clients.

use mimalloc::MiMalloc;

mod access_log;
mod backend_tls;
mod balance;
mod beside_floods;
mod change;
mod conformance;
mod curl;
mod descriptors;
mod differential;
mod drain;
mod ejection;
mod events;
mod examples;
mod explain;
mod floods;
mod grpc;
mod grpcio;
mod grpcurl;
mod h2spec;
mod handshakes;
mod headers;
mod health_checks;
mod http2;
mod in_front;
mod interim;
mod late_heads;
mod limits;
mod misbehaving;
mod misdirected;
mod nginx;
mod overload;
mod pending;
mod policies;
mod refusals;
mod replies;
mod requests;
mod resumption;
mod retries;
mod reuse;
mod rolling;
mod routing;
mod send_proxy;
mod slow_readers;
mod slowhttptest;
mod small_frames;
mod smuggling;
mod sslyze;
mod steered;
mod sticky;
mod streaming;
mod support;
mod times;
mod tls;
mod traces;
mod traffic;
mod uploads;
mod upstream_http2;
mod upstream_protocols;
mod websocket;
mod websockets;
mod ws;

/// The agent's: `slow_readers` measures what the proxy holds.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
