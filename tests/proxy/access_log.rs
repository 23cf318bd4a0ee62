//! The access log: one line for each request, whatever became of it.

use std::time::{Duration, Instant};

use lb_agent::l7::Trust;
use lb_agent::l7::access_log::{AccessLog, Format, Settings};
use lb_agent::metrics::AccessLogMetrics;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tempfile::TempDir;

use super::support::{
    Backend, Fixture, Http, Table, all_schemes, connect_tls, eventually, raw_exchange, request,
};

/// A proxy that logs as JSON.
fn start(table: lb_agent::model::RouteTable) -> (Fixture, TempDir) {
    start_behind(Trust::default(), table)
}

/// The same behind others.
fn start_behind(trust: Trust, table: lb_agent::model::RouteTable) -> (Fixture, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { path: Some(folder.path().join("log")), format: Format::JSON, sample: 1 };
    let log = AccessLog::start(settings, AccessLogMetrics::new(&mut Registry::default()));
    let log = log.expect("a log");
    let set = |config: &mut lb_agent::l7::Config| (config.access_log, config.trust) = (Some(log), trust);
    (Fixture::start_as(set, table), folder)
}

async fn lines(folder: &TempDir, count: usize) -> Vec<Value> {
    let read = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    eventually("the lines are there", || read().lines().count() >= count).await;
    read().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn a_request_is_logged_with_where_it_went() {
    let backend = Backend::says("hello").await;
    let (fixture, folder) = start(Table::default().rule("a.org", "/", &[backend.address]).build());
    let started = Instant::now();
    let stream = connect_tls(fixture.https(), "a.org", &["h2"], all_schemes()).await;
    let mut client = Http::two_over(stream).await;
    let mut asked = request("a.org", "/x?y=1");
    *asked.uri_mut() = "https://a.org/x?y=1".parse().expect("a URI");
    asked.headers_mut().insert("x-request-id", "r-1".parse().expect("a value"));
    assert_eq!(client.send(asked).await.text(), "hello");
    let line = &lines(&folder, 1).await[0];
    let took = started.elapsed().as_secs_f64() * 1000.0;
    for (field, expected) in [
        ("request_id", "r-1"),
        ("client", "127.0.0.1"),
        ("tls_version", "TLSv1.3"),
        ("sni", "a.org"),
        ("method", "GET"),
        ("host", "a.org"),
        ("path", "/x?y=1"),
        ("protocol", "HTTP/2"),
        ("namespace", "shop"),
        ("ingress", "web"),
        ("service", "/"),
    ] {
        assert_eq!(line[field], expected, "{field} in {line}");
    }
    assert_eq!((line["status"].as_u64(), line["bytes_out"].as_u64()), (Some(200), Some(5)), "{line}");
    assert_eq!(line["endpoint"], backend.address.to_string());
    assert_eq!((line["attempts"].as_u64(), line["complete"].as_bool()), (Some(1), Some(true)), "{line}");
    let times = ["upstream_ms", "duration_ms"].map(|field| line[field].as_f64().expect("a time"));
    assert!(times[0] <= times[1] && times[1] <= took, "{line}");
    assert!(line.get("blame").is_none() && line.get("reason").is_none(), "{line}");
}

#[tokio::test]
async fn what_ends_badly_is_logged_with_who_is_to_blame() {
    let dead = Backend::says("dead").await.address;
    let (fixture, folder) = start(Table::default().rule("dead.org", "/", &[dead]).build());
    let mut client = Http::one(fixture.http()).await;
    client.send(request("dead.org", "/")).await;
    client.send(request("unknown.org", "/")).await;
    raw_exchange(fixture.http(), b"GET / HTTP/1.1\r\nhost : a.org\r\n\r\n").await;
    let lines = lines(&folder, 3).await;
    let found: Vec<_> = lines.iter().map(|line| (line["status"].as_u64(), line["blame"].as_str())).collect();
    let expected = [(Some(502), Some("upstream")), (Some(404), Some("client")), (Some(400), Some("client"))];
    assert_eq!(found, expected, "{lines:?}");
    assert_eq!(lines[0]["reason"], "connect_failed");
    assert_eq!((lines[0]["ingress"].as_str(), lines[0]["attempts"].as_u64()), (Some("web"), Some(1)));
    assert!(lines[1].get("ingress").is_none());
}

#[tokio::test]
async fn who_leaves_before_there_is_a_response_has_none() {
    let backend = Backend::start(|_| std::future::pending()).await;
    let table = || Table::default().rule("a.org", "/", &[backend.address]).build();
    let (fixture, folder) = start(table());
    leave(&fixture).await;
    let line = lines(&folder, 1).await.pop().expect("a line");
    let found = (line["status"].as_u64(), line["blame"].as_str(), line["reason"].as_str());
    assert_eq!(found, (Some(499), Some("client"), Some("left_by_client")), "{line}");
    let requests = "lb_l7_requests_total{protocol=\"http\",class=\"4xx\"}";
    assert_eq!(fixture.metric(requests), 1);
    // It is a request where nothing else is wanted to be known, too.
    let fixture = Fixture::start_as(|config| config.route_metrics = 0, table());
    leave(&fixture).await;
    eventually("it is counted", || fixture.metric(requests) == 1).await;
}

/// Asks, and leaves without an answer.
async fn leave(fixture: &Fixture) {
    let mut client = Http::one(fixture.http()).await;
    let asked = tokio::time::timeout(Duration::from_millis(100), client.begin(request("a.org", "/")));
    assert!(asked.await.is_err(), "no answer");
}

#[tokio::test]
async fn of_what_is_no_request_nothing_is_made_up() {
    let backend = Backend::says("hello").await;
    let (fixture, folder) = start(Table::all_to(&[backend.address]));
    for (number, sent) in (1..).zip([
        &b"POST /x HTTP/1.1\r\nhost : a\r\n\r\n"[..],
        b"POST /a<b HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST /\xff HTTP/1.1\r\nhost: a\r\n\r\n",
    ]) {
        let answer = raw_exchange(fixture.http(), sent).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let line = lines(&folder, number).await.pop().expect("a line");
        assert_eq!((&line["reason"], &line["status"]), (&"malformed".into(), &400.into()), "{line}");
        let id = line["request_id"].as_str().expect("an id");
        assert!(answer.contains(&format!("\r\nx-request-id: {id}\r\n")), "{answer}");
        let known = ["method", "path", "host", "protocol"].map(|field| line.get(field));
        assert_eq!(known, [None; 4], "{line}");
        assert_eq!(fixture.metric("lb_l7_replies_total{reason=\"malformed\"}"), number as u64);
    }
    let malformed =
        |reason| fixture.metric(&format!("lb_l7_malformed_requests_total{{reason=\"{reason}\"}}"));
    assert_eq!(["header_name", "request_line", "other"].map(malformed), [1, 2, 0]);
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn an_upload_is_counted() {
    let backend = Backend::says("ok").await;
    let (fixture, folder) = start(Table::all_to(&[backend.address]));
    let upload = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 7\r\nconnection: close\r\n\r\n1234567";
    raw_exchange(fixture.http(), upload).await;
    let line = &lines(&folder, 1).await[0];
    assert_eq!((line["bytes_in"].as_u64(), line["method"].as_str()), (Some(7), Some("POST")), "{line}");
}

#[tokio::test]
async fn the_client_is_who_a_trusted_proxy_says_it_is() {
    let backend = Backend::says("ok").await;
    let behind = |headers: &[&str]| Trust {
        headers: headers.iter().map(|text| text.parse().expect("a network")).collect(),
        ..Trust::default()
    };
    for (trusted, client) in [(&["127.0.0.0/8"][..], "203.0.113.9"), (&[], "127.0.0.1")] {
        let (fixture, folder) = start_behind(behind(trusted), Table::all_to(&[backend.address]));
        let mut asked = request("a", "/");
        asked.headers_mut().insert("x-forwarded-for", "1.1.1.1, 203.0.113.9".parse().expect("a value"));
        Http::one(fixture.http()).await.send(asked).await;
        assert_eq!(lines(&folder, 1).await[0]["client"], client);
    }
}
