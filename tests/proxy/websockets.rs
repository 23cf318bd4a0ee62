//! WebSockets as PyPI's websockets speaks them, on both sides of the proxy: each connection comes to what it comes to without
//! one, in the clear and over TLS.

use std::process::Command;

use lb_tests::installed;
use serde_json::{Value, json};

use super::support::{WebSocketPeers, source};

const CASES: [&str; 10] =
    ["plain", "compressed", "fragments", "pings", "head", "closes", "dies", "refused", "poured", "together"];

/// Ends of connections that all cases together make.
const ENDS: usize = 1 + 1 + 1 + 1 + 1 + 5 + 1 + 1 + 1 + 100;

fn python(file: &str) -> Command {
    let mut python = Command::new(installed::websockets().expect("websockets"));
    python.arg(source(file));
    python
}

#[tokio::test]
async fn connections_come_to_what_they_come_to_without_a_proxy() {
    let peers = WebSocketPeers {
        server: python("backends/websockets_server.py"),
        client: || python("clients/websockets_client.py"),
        cases: &CASES,
        ends: ENDS,
    };
    let expected = |direct: &[Value]| {
        let [plain, compressed, fragments, pings, head, closes, dies, refused, poured, together] = direct
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
    };
    peers.check(expected).await;
}
