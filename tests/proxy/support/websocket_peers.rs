//! A server and a client of WebSockets that others wrote: each connection comes to what it comes to without the proxy, in
//! the clear and over TLS.

use std::net::SocketAddr;
use std::process::Command;

use lb_agent::model::KeyKind::Ecdsa;
use serde_json::Value;

use super::{Fixture, Program, Table, certificate, eventually};

/// How they are started, and what they do.
pub(crate) struct WebSocketPeers<'a> {
    pub(crate) server: Command,
    /// Makes a client.
    pub(crate) client: fn() -> Command,
    pub(crate) cases: &'a [&'a str],
    /// Ends of connections that all cases together make.
    pub(crate) ends: usize,
}

impl WebSocketPeers<'_> {
    /// What all cases come to for the client without the proxy, once `expected` has looked at it; and with it.
    pub(crate) async fn check(mut self, expected: impl FnOnce(&[Value])) {
        let mut server = Program::start(&mut self.server);
        let address = server.line().await.expect("its address").parse().expect("an address");
        let table = Table::default().certificate("", &certificate(Ecdsa, &["a.example.org"]));
        let fixture = Fixture::start(table.default_backend("", &[address]).build());
        let direct = (self.outcomes("ws", address).await, self.ends(&mut server).await);
        expected(&direct.0);
        for (scheme, address) in [("ws", fixture.http()), ("wss", fixture.https())] {
            let proxied = (self.outcomes(scheme, address).await, self.ends(&mut server).await);
            assert_eq!(proxied, direct, "{scheme}");
        }
        eventually("all are closed", || fixture.proxy.left().total() == 0).await;
    }

    async fn outcomes(&self, scheme: &str, address: SocketAddr) -> Vec<Value> {
        let mut client = (self.client)();
        client.arg(format!("{scheme}://{address}/socket?x=1")).args(self.cases);
        let (said, status) = Program::start(&mut client).finish().await;
        assert!(status.success(), "{said}");
        said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// How the connections of all cases ended at the server, in some order.
    async fn ends(&self, server: &mut Program) -> Vec<String> {
        let mut ends = Vec::new();
        while ends.len() < self.ends {
            ends.push(server.line().await.expect("an end"));
        }
        ends.sort();
        ends
    }
}
