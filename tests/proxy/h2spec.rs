//! RFC 9113 and RFC 7541 as h2spec checks them, also what it calls strict, in the clear and over TLS.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use http::Response;
use http_body_util::BodyExt as _;
use lb_agent::model::KeyKind;
use lb_tests::cluster::program;

use super::support::{Backend, Fixture, Table, certificate, text};

/// What does not hold in the clear: who does not begin with HTTP/2's preface is taken for a client of HTTP/1.1, and gets
/// its 400 in the place of a GOAWAY.
const NO_PREFACE: &str = "http2/3.5 Sends invalid connection preface";

#[tokio::test]
async fn h2spec_finds_nothing_else() {
    // An answer before the request's end closes the stream, and what comes late on it is no fault of the client's then.
    let backend = Backend::start(|request| async move {
        drop(request.into_body().collect().await);
        Response::new(text("hello"))
    })
    .await;
    let table = Table::default().certificate("", &certificate(KeyKind::Ecdsa, &["a"]));
    let fixture = Fixture::start(table.default_backend("", &[backend.address]).build());
    let mut in_the_clear = run(fixture.http(), &[]).await;
    assert!(in_the_clear.remove(NO_PREFACE).is_some(), "{in_the_clear:#?}");
    let over_tls = run(fixture.https(), &["--tls", "--insecure"]).await;
    assert!(in_the_clear.is_empty() && over_tls.is_empty(), "{in_the_clear:#?}\n{over_tls:#?}");
}

/// The cases that fail, with what h2spec says of them.
async fn run(address: SocketAddr, flags: &'static [&'static str]) -> BTreeMap<String, String> {
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
    cases.into_iter().filter_map(|(case, fault)| Some((case, fault?))).collect()
}

/// Name of each case in a JUnit report, and what is wrong with it.
fn cases(report: &str) -> Vec<(String, Option<String>)> {
    let attribute = |case: &str, name: &str| {
        let value = case.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
        value.map_or_else(String::new, |(value, _)| value.to_owned())
    };
    let all = report.split("<testcase").skip(1);
    all.map(|case| {
        let name = format!("{} {}", attribute(case, "package"), attribute(case, "classname"));
        let is_bad = case.contains("<failure") || case.contains("<error");
        (name, is_bad.then(|| case.to_owned()))
    })
    .collect()
}
