//! What the tests of this tier share.

mod alone;
pub(crate) mod apart;
mod backend;
mod client;
mod fixture;
pub(crate) mod floods;
pub(crate) mod frames;
mod program;
mod shop;
mod site;
mod tables;
mod websocket_peers;

pub(crate) use alone::{Log, is_alone};
pub(crate) use apart::Apart;
pub(crate) use backend::{Backend, Body, RawBackend, Speaks, body_of, read_head, text};
pub(crate) use client::{
    Answer, Body as RequestBody, Http, all_schemes, connect_tls, connect_tls_over, exchanging_keys,
    noting_staples, raw_exchange, request, shown, tls_client,
};
pub(crate) use fixture::{Fixture, eventually, listener, quick, with_head_time};
pub(crate) use program::{Program, run, source};
pub(crate) use shop::Shop;
pub(crate) use site::{Asked, Site, tls_secret};
pub(crate) use tables::{Table, certificate, identity, protocol};
pub(crate) use websocket_peers::WebSocketPeers;
