//! The proxy tier: requests through `l7::Proxy` on loopback, to backends that behave and to some that do not.
//! Needs no rights. Each file is one concern; `support` has the proxy, the backends and the clients.

mod access_log;
mod balance;
mod change;
mod conformance;
mod drain;
mod ejection;
mod examples;
mod explain;
mod floods;
mod grpc;
mod handshakes;
mod headers;
mod http2;
mod in_front;
mod interim;
mod limits;
mod misbehaving;
mod misdirected;
mod nginx;
mod overload;
mod replies;
mod requests;
mod resumption;
mod retries;
mod reuse;
mod routing;
mod smuggling;
mod steered;
mod streaming;
mod support;
mod tls;
mod upstream_http2;
mod upstream_protocols;
mod websocket;
