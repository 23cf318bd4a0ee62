//! gRPC as grpcio speaks it, on both sides of the proxy: calls come to what they come to without one, in the clear and over
//! TLS; and to what the specification says where their server is gone.

use std::net::SocketAddr;
use std::process::Command;

use lb_tests::installed;
use serde_json::{Value, json};

use super::support::{Program, Shop, Site, source, tls_secret};

const NAME: &str = "calls.example.org";

/// A server of grpcio.
struct Server {
    program: Program,
    address: SocketAddr,
}

impl Server {
    async fn start() -> Self {
        let mut program = Program::start(python().arg(source("backends/grpc_server.py")));
        let address = program.line().await.expect("its address").parse().expect("an address");
        Self { program, address }
    }

    async fn says(&mut self, expected: &str) {
        assert_eq!(self.program.line().await.as_deref(), Some(expected));
    }
}

fn python() -> Command {
    Command::new(installed::grpcio().expect("grpcio"))
}

/// Makes these calls, one after the other.
fn call(address: SocketAddr, calls: &[&str]) -> Program {
    Program::start(python().arg(source("clients/grpc_client.py")).arg(address.to_string()).args(calls))
}

/// What the next one came to.
async fn outcome(client: &mut Program) -> Value {
    serde_json::from_str(&client.line().await.expect("an outcome")).expect("JSON")
}

async fn outcomes(mut client: Program, calls: &[&str]) -> Vec<Value> {
    let mut all = Vec::new();
    for _ in calls {
        all.push(outcome(&mut client).await);
    }
    let (said, status) = client.finish().await;
    assert!(status.success() && said.is_empty(), "{said}");
    all
}

/// As users say that its pods speak gRPC.
fn shop() -> Shop {
    Shop { ingress: json!({"edgelb.dev/backend-protocol": "GRPC"}), ..Shop::default() }
}

/// In front of a server.
async fn site(server: SocketAddr) -> Site {
    let mut site = Site::start("", &[]).await;
    shop().tell_of(&mut site, &[server]);
    assert_eq!(site.problems, [""; 0]);
    site
}

/// A call's code and message.
fn end(outcome: &Value) -> (&str, &str) {
    let text = |name: &str| outcome[name].as_str().expect("text");
    (text("code"), text("details"))
}

const USUAL: [&str; 10] =
    ["echo", "large", "compressed", "together", "fail", "unknown", "late", "count", "join", "talk"];

#[tokio::test]
async fn calls_come_to_what_they_come_to_without_a_proxy() {
    let server = Server::start().await;
    let site = site(server.address).await;
    let direct = outcomes(call(server.address, &USUAL), &USUAL).await;
    let proxied = outcomes(call(site.http(), &USUAL), &USUAL).await;
    assert_eq!(proxied, direct);
    let all = |index: usize| proxied[index]["messages"].as_array().expect("messages").clone();
    assert_eq!((all(0), all(1), all(2)), (vec![json!("hello")], vec![json!(3 << 20)], vec![json!(100_000)]));
    assert_eq!(proxied[0]["last"], json!({"x-last": "two", "x-last-bin": "b'\\x00\\xff'"}));
    assert_eq!((all(3).len(), all(7).len(), all(8), all(9).len()), (300, 50, vec![json!(1_000_000)], 20));
    assert_eq!(end(&proxied[4]), ("FAILED_PRECONDITION", "kein Stück: 100 %"));
    assert_eq!(proxied[4]["last"], json!({"x-reason": "empty"}));
    assert_eq!(end(&proxied[5]).0, "UNIMPLEMENTED");
    assert_eq!(end(&proxied[6]), ("DEADLINE_EXCEEDED", "Deadline Exceeded"));
}

#[tokio::test]
async fn over_tls_they_do_too() {
    let server = Server::start().await;
    let mut site = site(server.address).await;
    let (secret, certificate) = tls_secret("calls", NAME);
    let to_shop = json!({"service": {"name": "shop", "port": {"number": 80}}});
    let path = json!({"path": "/", "pathType": "Prefix", "backend": to_shop});
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "calls", "annotations": {"edgelb.dev/backend-protocol": "GRPC"}},
        "spec": {
            "tls": [{"hosts": [NAME], "secretName": "calls"}],
            "rules": [{"host": NAME, "http": {"paths": [path]}}],
        },
    });
    site.change("secret.json", &secret);
    site.change("ingress.json", &ingress.to_string());
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), certificate).expect("written");
    let mut client = python();
    client.arg(source("clients/grpc_client.py")).arg(site.https().to_string()).args(USUAL);
    let proxied = outcomes(Program::start(client.env("CERTIFICATE", file.path())), &USUAL).await;
    assert_eq!(proxied, outcomes(call(server.address, &USUAL), &USUAL).await);
    // Compressed ones have a channel of their own.
    assert_eq!(site.metric("lb_l7_tls_handshakes_total{version=\"1.3\",kind=\"full\"}"), 2);
}

#[tokio::test]
async fn a_deadline_and_a_cancellation_arrive_at_the_server() {
    let mut server = Server::start().await;
    let site = site(server.address).await;
    let mut client = call(site.http(), &["remaining", "late", "cancel"]);
    let remaining = outcome(&mut client).await["messages"][0].as_str().expect("a number").parse::<f64>();
    assert!((1.0..=21.0).contains(&remaining.expect("a number")), "the client gave it 20 s");
    server.says("hangs").await;
    server.says("cancelled").await;
    assert_eq!(end(&outcome(&mut client).await).0, "DEADLINE_EXCEEDED");
    server.says("hangs").await;
    client.tell("it has it");
    server.says("cancelled").await;
    assert_eq!(end(&outcome(&mut client).await).0, "CANCELLED");
}

#[tokio::test]
async fn calls_whose_server_is_gone_are_unavailable() {
    let mut server = Server::start().await;
    let site = site(server.address).await;
    let mut client = call(site.http(), &["hang", "echo"]);
    server.says("hangs").await;
    let mut other = call(site.http(), &["half"]);
    server.says("hangs").await;
    assert_eq!(other.line().await.as_deref(), Some("heard"));
    server.program.kill();
    let broken_off = outcome(&mut client).await;
    assert_eq!(end(&broken_off).0, "UNAVAILABLE", "{broken_off}");
    let refused = outcome(&mut client).await;
    assert_eq!(end(&refused), ("UNAVAILABLE", "502 bad gateway: no endpoint accepts connections"));
    // What has begun cannot be taken for whole.
    let half = outcome(&mut other).await;
    assert_eq!((&half["messages"], end(&half).0), (&json!(["half"]), "INTERNAL"), "{half}");
}

#[tokio::test]
async fn calls_without_a_ready_server_are_unavailable() {
    let server = Server::start().await;
    let mut site = site(server.address).await;
    shop().tell_of(&mut site, &[]);
    let refused = outcome(&mut call(site.http(), &["echo"])).await;
    assert_eq!(end(&refused), ("UNAVAILABLE", "503 service unavailable: no endpoint is ready"));
}
