//! RFC 9113 and RFC 7541 as h2spec checks them, also what it calls strict, in the clear and over TLS.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use lb_agent::model::KeyKind;
use lb_tests::cluster::program;

use super::support::{Backend, Fixture, Table, certificate};

/// What does not hold in the clear: who does not begin with HTTP/2's preface is taken for a client of HTTP/1.1, and gets
/// its 400 in the place of a GOAWAY.
const NO_PREFACE: &str = "http2/3.5 Sends invalid connection preface";

#[tokio::test]
async fn h2spec_finds_nothing_else() {
    let backend = Backend::says("hello").await;
    let table = Table::default().certificate("", &certificate(KeyKind::Ecdsa, &["a"]));
    let fixture = Fixture::start(table.default_backend("", &[backend.address]).build());
    let known = BTreeSet::from([NO_PREFACE.to_owned()]);
    assert_eq!(run(fixture.http(), &[]).await, known);
    assert_eq!(run(fixture.https(), &["--tls", "--insecure"]).await, BTreeSet::new());
}

/// The cases that fail.
async fn run(address: SocketAddr, flags: &'static [&'static str]) -> BTreeSet<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.xml");
    let mut h2spec = Command::new(program("h2spec").expect("`cargo xtask test proxy` builds it"));
    h2spec
        .args(["--strict", "--timeout", "10", "--host", &address.ip().to_string()])
        .args(["--port", &address.port().to_string(), "--junit-report"])
        .arg(&report)
        .args(flags);
    // The backend is on this thread.
    let ended = tokio::task::spawn_blocking(move || h2spec.output());
    let output = ended.await.expect("no panic").expect("it starts");
    let report = std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let cases = cases(&report);
    assert!(cases.len() > 100, "{report}");
    cases.into_iter().filter_map(|(case, is_good)| (!is_good).then_some(case)).collect()
}

/// Name and outcome of each case in a JUnit report.
fn cases(report: &str) -> Vec<(String, bool)> {
    let attribute = |case: &str, name: &str| {
        let value = case.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
        value.map_or_else(String::new, |(value, _)| value.to_owned())
    };
    let all = report.split("<testcase").skip(1);
    all.map(|case| {
        let name = format!("{} {}", attribute(case, "package"), attribute(case, "classname"));
        (name, !case.contains("<failure") && !case.contains("<error"))
    })
    .collect()
}
