//! WebSockets as npm's ws speaks them, on both sides of the proxy: each connection comes to what it comes to without one, in
//! the clear and over TLS.

use std::net::SocketAddr;
use std::process::Command;

use lb_agent::model::KeyKind::Ecdsa;
use lb_tests::installed;
use serde_json::{Value, json};

use super::support::{Fixture, Program, Table, certificate, eventually, source};

const CASES: [&str; 10] = [
    "plain",
    "compressed",
    "fragments",
    "pings",
    "protocol",
    "closes",
    "dies",
    "leaves",
    "refused",
    "together",
];

/// Ends of connections that all cases together make.
const ENDS: usize = 2 + 1 + 1 + 1 + 5 + 1 + 1 + 3 + 100;

fn node(file: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(source(file)).env("NODE_PATH", installed::ws().expect("ws"));
    node
}

/// Its server.
struct Server {
    program: Program,
    address: SocketAddr,
}

impl Server {
    async fn start() -> Self {
        let mut program = Program::start(&mut node("backends/ws_server.js"));
        let address = program.line().await.expect("its address").parse().expect("an address");
        Self { program, address }
    }

    /// How the connections of all cases ended here, in some order.
    async fn ends(&mut self) -> Vec<String> {
        let mut ends = Vec::new();
        while ends.len() < ENDS {
            ends.push(self.program.line().await.expect("an end"));
        }
        ends.sort();
        ends
    }
}

/// What all cases come to for the client.
async fn outcomes(scheme: &str, address: SocketAddr) -> Vec<Value> {
    let mut client = node("clients/ws_client.js");
    let (said, status) =
        Program::start(client.arg(format!("{scheme}://{address}/socket?x=1")).args(CASES)).finish().await;
    assert!(status.success(), "{said}");
    said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn connections_come_to_what_they_come_to_without_a_proxy() {
    let mut server = Server::start().await;
    let table = Table::default().certificate("", &certificate(Ecdsa, &["a.example.org"]));
    let fixture = Fixture::start(table.default_backend("", &[server.address]).build());
    let direct = (outcomes("ws", server.address).await, server.ends().await);
    let [_, compressed, _, _, protocol, closes, dies, _, refused, together] = &direct.0[..] else {
        panic!("{direct:?}")
    };
    assert_eq!(compressed["extensions"], "permessage-deflate");
    assert_eq!(protocol, &json!({"protocol": "chat.v2", "closed": [4321, "enough"]}));
    assert_eq!(closes["ends"][2], json!([1011, "as you like"]));
    assert_eq!((&dies["closed"][0], &refused["ends"][0][0]), (&json!(1006), &json!(1009)));
    assert_eq!(together["echoed"], 1_000_000);
    for (scheme, address) in [("ws", fixture.http()), ("wss", fixture.https())] {
        let proxied = (outcomes(scheme, address).await, server.ends().await);
        assert_eq!(proxied, direct, "{scheme}");
    }
    eventually("all are closed", || fixture.proxy.left().total() == 0).await;
}
