//! curl and h2load, as users try a proxy with them.

use std::net::SocketAddr;
use std::process::Command;

use http::{HeaderMap, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use lb_agent::l7::Trust;
use lb_agent::model::KeyKind::Ecdsa;
use serde_json::{Value, json};

use super::support::{Backend, Fixture, Table, body_of, certificate, protocol, run, text};

/// Tells what came, and has a trailer.
async fn backend(is_http2: bool) -> Backend {
    let speaks = super::support::Speaks { http2: is_http2, tls: None };
    Backend::speaking(speaks, |request| async move {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let header =
            |name: &str| parts.headers.get(name).map(|value| value.to_str().expect("ASCII").to_owned());
        let told = json!({
            "method": parts.method.as_str(),
            "body": body.len(),
            "client": header("x-forwarded-for"),
            "proto": header("x-forwarded-proto"),
            "expect": header("expect"),
        });
        let trailers =
            HeaderMap::from_iter([("x-sum".parse().expect("a name"), "7".parse().expect("a value"))]);
        let frames = [Ok(Frame::data(told.to_string().into())), Ok(Frame::trailers(trailers))];
        let body = body_of(StreamBody::new(futures_util::stream::iter(frames)));
        Response::builder().header("trailer", "x-sum").body(body).expect("a response")
    })
    .await
}

fn fixture(backend: &Backend, is_http2: bool, trust: Trust) -> Fixture {
    let mut table = Table::all_spoken(&[backend.address], protocol(is_http2, None));
    let certificates = Table::default().certificate("", &certificate(Ecdsa, &["a"])).build().certificates;
    table.certificates = certificates;
    Fixture::start_as(|config| config.trust = trust, table)
}

/// Runs it: what the backend told, and what curl says of the exchange.
async fn curl(flags: &[&str], scheme: &str, address: SocketAddr) -> (Value, String) {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--insecure",
        "--max-time",
        "20",
        "--verbose",
        "--stderr",
        "-",
        "--include",
    ]);
    curl.args(["--write-out", "\nuses %{http_version} %{http_code} %{size_upload}\n"]).args(flags);
    let said = run(curl.arg(format!("{scheme}://{address}/"))).await;
    let told = said.lines().find(|line| line.starts_with("{\"")).unwrap_or_else(|| panic!("{said}"));
    // What curl says goes on in the same line.
    let told = serde_json::Deserializer::from_str(told).into_iter().next().expect("JSON");
    (told.expect("JSON"), said)
}

fn file(bytes: usize) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), vec![b'x'; bytes]).expect("written");
    file
}

#[tokio::test]
async fn each_version_of_http_in_the_clear_and_over_tls() {
    for to_endpoint in [false, true] {
        let backend = backend(to_endpoint).await;
        let fixture = fixture(&backend, to_endpoint, Trust::default());
        for (flag, scheme, version) in [
            ("--http1.0", "http", "1"),
            ("--http1.1", "http", "1.1"),
            ("--http2-prior-knowledge", "http", "2"),
            // An upgrade that nobody takes up.
            ("--http2", "http", "1.1"),
            ("--http1.0", "https", "1"),
            ("--http1.1", "https", "1.1"),
            ("--http2", "https", "2"),
        ] {
            let address = if scheme == "http" { fixture.http() } else { fixture.https() };
            let (told, said) = curl(&[flag], scheme, address).await;
            assert_eq!((&told["method"], &told["proto"]), (&json!("GET"), &json!(scheme)));
            assert!(said.contains(&format!("uses {version} 200 0")), "{flag} {scheme}: {said}");
        }
    }
}

#[tokio::test]
async fn an_upload_is_asked_for_and_a_trailer_arrives() {
    const LENGTH: usize = 3 << 20;
    let file = file(LENGTH);
    let upload = file.path().to_str().expect("text");
    for to_endpoint in [false, true] {
        let backend = backend(to_endpoint).await;
        let fixture = fixture(&backend, to_endpoint, Trust::default());
        let chunked = "transfer-encoding: chunked";
        for (version, flags) in [
            // Waits for a word for longer than it may take at all.
            ("1.1", &["--http1.1", "--expect100-timeout", "60", "--header", "expect: 100-continue"][..]),
            ("1.1", &["--http1.1", "--header", chunked]),
            ("2", &["--http2-prior-knowledge"]),
        ] {
            let flags = [flags, &["--header", "te: trailers", "--upload-file", upload]].concat();
            let (told, said) = curl(&flags, "http", fixture.http()).await;
            assert_eq!((&told["method"], &told["body"]), (&json!("PUT"), &json!(LENGTH)));
            assert_eq!(said.contains("HTTP/1.1 100 Continue"), version == "1.1", "{said}");
            assert!(said.contains(&format!("uses {version} 200 ")), "{said}");
            assert!(said.contains("x-sum: 7"), "{said}");
        }
    }
}

#[tokio::test]
async fn curl_says_whose_connection_it_is() {
    let backend = backend(false).await;
    let loopback = "127.0.0.0/8".parse().expect("a network");
    let trust = Trust { headers: Vec::new(), proxy_protocol: vec![loopback] };
    let fixture = fixture(&backend, false, trust);
    for (scheme, address) in [("http", fixture.http()), ("https", fixture.https())] {
        let (told, _) = curl(&["--haproxy-protocol", "--interface", "127.0.0.7"], scheme, address).await;
        assert_eq!((&told["client"], &told["proto"]), (&json!("127.0.0.7"), &json!(scheme)));
    }
    let silent = Command::new("curl").args(["--silent", &format!("http://{}/", fixture.http())]).output();
    let code = silent.expect("it starts").status.code();
    assert!(matches!(code, Some(52 | 56)), "nothing but an end or a reset: {code:?}");
    assert_eq!(fixture.metric("lb_l7_malformed_requests_total{reason=\"proxy_header\"}"), 1);
}

#[tokio::test]
async fn h2load_fails_in_none_of_its_requests() {
    let backend = Backend::start(|_| async { Response::new(text("hello")) }).await;
    let fixture = fixture(&backend, false, Trust::default());
    for (address, scheme, flags) in [
        (fixture.http(), "http", &["-m", "100"][..]),
        (fixture.https(), "https", &["-m", "100"]),
        (fixture.http(), "http", &["--h1"]),
        (fixture.https(), "https", &["--h1"]),
    ] {
        let mut h2load = Command::new("h2load");
        h2load.args(["-n", "2000", "-c", "4"]).args(flags).arg(format!("{scheme}://{address}/"));
        let said = run(&mut h2load).await;
        let expected = "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout";
        assert!(said.contains(expected) && said.contains("2000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{said}");
    }
    assert_eq!(backend.requests(), 4 * 2000);
}
