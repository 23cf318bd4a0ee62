//! WebSockets as npm's ws speaks them, on both sides of the proxy: each connection comes to what it comes to without one, in
//! the clear and over TLS.

use std::process::Command;

use lb_tests::installed;
use serde_json::{Value, json};

use super::support::{WebSocketPeers, source};

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

#[tokio::test]
async fn connections_come_to_what_they_come_to_without_a_proxy() {
    let peers = WebSocketPeers {
        server: node("backends/ws_server.js"),
        client: || node("clients/ws_client.js"),
        cases: &CASES,
        ends: ENDS,
    };
    let expected = |direct: &[Value]| {
        let [_, compressed, _, _, protocol, closes, dies, _, refused, together] = direct else {
            panic!("{direct:?}")
        };
        assert_eq!(compressed["extensions"], "permessage-deflate");
        assert_eq!(protocol, &json!({"protocol": "chat.v2", "closed": [4321, "enough"]}));
        assert_eq!(closes["ends"][2], json!([1011, "as you like"]));
        assert_eq!((&dies["closed"][0], &refused["ends"][0][0]), (&json!(1006), &json!(1009)));
        assert_eq!(together["echoed"], 1_000_000);
    };
    peers.check(expected).await;
}
