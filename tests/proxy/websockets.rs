//! WebSockets as PyPI's websockets speaks them, on both sides of the proxy: each connection comes to what it comes to without
//! one, in the clear and over TLS.

use std::net::SocketAddr;
use std::process::Command;

use lb_agent::model::KeyKind::Ecdsa;
use lb_tests::installed;
use serde_json::{Value, json};

use super::support::{Fixture, Program, Table, certificate, eventually, source};

const CASES: [&str; 10] =
    ["plain", "compressed", "fragments", "pings", "head", "closes", "dies", "refused", "poured", "together"];

/// Ends of connections that all cases together make.
const ENDS: usize = 1 + 1 + 1 + 1 + 1 + 5 + 1 + 1 + 1 + 100;

fn python(file: &str) -> Command {
    let mut python = Command::new(installed::websockets().expect("websockets"));
    python.arg(source(file));
    python
}

/// Its server.
struct Server {
    program: Program,
    address: SocketAddr,
}

impl Server {
    async fn start() -> Self {
        let mut program = Program::start(&mut python("backends/websockets_server.py"));
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
    let mut client = python("clients/websockets_client.py");
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
    let [plain, compressed, fragments, pings, head, closes, dies, refused, poured, together] = &direct.0[..]
    else {
        panic!("{direct:?}")
    };
    assert_eq!(
        (&plain["extensions"], &compressed["extensions"]),
        (&json!([]), &json!(["permessage-deflate"]))
    );
    assert_eq!((&fragments["length"], &pings["said"]), (&json!(100_000), &json!("pong there")));
    assert_eq!(head, &json!({"head": "/socket?x=1 this", "protocol": "chat.v2"}));
    assert_eq!(closes["ends"][2], json!([1011, "as you like"]));
    assert_eq!((&dies["closed"][0], &refused["closed"]), (&json!(1006), &json!(1009)));
    assert_eq!((&poured["messages"], &together["echoed"]), (&json!(2000), &json!(1000)));
    for (scheme, address) in [("ws", fixture.http()), ("wss", fixture.https())] {
        let proxied = (outcomes(scheme, address).await, server.ends().await);
        assert_eq!(proxied, direct, "{scheme}");
    }
    eventually("all are closed", || fixture.proxy.left().total() == 0).await;
}
