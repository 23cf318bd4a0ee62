//! gRPC as grpcurl speaks it, Go's client, to a server of grpcio: calls come to what they come to without a proxy, in the clear
//! and over TLS.

use std::net::SocketAddr;
use std::process::Command;

use lb_agent::model::KeyKind::Ecdsa;
use lb_tests::{cluster, installed};

use super::support::{Fixture, Program, Table, certificate, protocol, source};

/// A method, the messages that it is sent, and a part of what is to come of it.
const CALLS: [(&str, &str, &str); 5] = [
    ("Echo", r#"{"text": ["a"]}"#, "x-last-bin: AP8="),
    ("Fail", "{}", "Message: kein Stück: 100 %"),
    ("Missing", "{}", "Code: Unimplemented"),
    ("Join", r#"{"text": ["a"]} {"text": ["b"]}"#, "Sent 2 requests and received 1 response"),
    ("Talk", r#"{"text": ["a"]} {"text": ["b"]}"#, "Sent 2 requests and received 2 responses"),
];

/// All that grpcurl says of a call: headers but the date, which servers need not send, messages, trailers, and the status.
async fn call(flag: &'static str, address: SocketAddr, method: &str, messages: &'static str) -> String {
    let mut grpcurl = Command::new(cluster::program("grpcurl").expect("`cargo xtask test proxy` builds it"));
    grpcurl
        .args([flag, "-v", "-max-time", "20", "-H", "x-said: this", "-proto", "shop.proto", "-import-path"])
        .arg(source("clients"))
        .args(["-d", messages, &address.to_string(), &format!("shop.Shop/{method}")]);
    let ended = tokio::task::spawn_blocking(move || grpcurl.output()).await;
    let output = ended.expect("no panic").expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned() + &output.status.to_string();
    said.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn calls_come_to_what_they_come_to_without_a_proxy() {
    let mut python = Command::new(installed::grpcio().expect("grpcio"));
    let mut server = Program::start(python.arg(source("backends/grpc_server.py")));
    let direct: SocketAddr = server.line().await.expect("its address").parse().expect("an address");
    let table = Table::default().certificate("", &certificate(Ecdsa, &["a.example.org"]));
    let fixture = Fixture::start(table.default_spoken(&[direct], protocol(true, None)).build());
    for (method, messages, part) in CALLS {
        let expected = call("-plaintext", direct, method, messages).await;
        assert!(expected.contains(part), "{method}: {expected}");
        for (flag, address) in [("-plaintext", fixture.http()), ("-insecure", fixture.https())] {
            assert_eq!(call(flag, address, method, messages).await, expected, "{method} {flag}");
        }
    }
    assert_eq!(fixture.metric("lb_l7_requests_total{protocol=\"http\",class=\"2xx\"}"), CALLS.len() as u64);
}
