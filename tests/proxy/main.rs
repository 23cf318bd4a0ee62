//! The proxy tier: requests through `l7::Proxy` on loopback, to backends that behave and to some that do not.
//! Needs no rights. Each file is one concern; `support` has the proxy, the backends and the clients.

mod balance;
mod change;
mod conformance;
mod drain;
mod ejection;
mod examples;
mod floods;
mod headers;
mod http2;
mod in_front;
mod limits;
mod misbehaving;
mod nginx;
mod overload;
mod pending;
mod policies;
mod replies;
mod requests;
mod retries;
mod reuse;
mod rolling;
mod routing;
mod smuggling;
mod steered;
mod streaming;
mod support;
mod tls;
mod websocket;
