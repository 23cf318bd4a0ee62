//! Every reply that the proxy makes by itself, with its cause.

use lb_agent::model::Unavailable;
use tokio::io::AsyncReadExt;

use super::support::{Backend, Fixture, Http, RawBackend, Table, quick, raw_exchange, request};

async fn check(fixture: &Fixture, status: u16, reason: &str) {
    let answer = Http::get(fixture.http(), "a.example.org", "/").await;
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.text().starts_with(&status.to_string()), "{}", answer.text());
    assert_eq!(answer.header("x-request-id").len(), 32);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(fixture.metric(&format!("lb_l7_replies_total{{reason=\"{reason}\"}}")), 1);
}

#[tokio::test]
async fn unavailable_backends_say_so() {
    for (why, status, reason) in [
        (Unavailable::NoService, 503, "unavailable"),
        (Unavailable::NoPort, 503, "unavailable"),
        (Unavailable::NoEndpoint, 503, "unavailable"),
        (Unavailable::ExternalName, 503, "unavailable"),
        (Unavailable::Unsupported, 500, "unsupported"),
    ] {
        check(&Fixture::start(Table::all_unavailable(why)), status, reason).await;
    }
}

#[tokio::test]
async fn no_route_is_404() {
    check(&Fixture::start(Table::default().build()), 404, "no_route").await;
}

#[tokio::test]
async fn endpoints_that_refuse_are_502() {
    let (gone, gone_too) = (Backend::says("").await.address, Backend::says("").await.address);
    check(&Fixture::start(Table::all_to(&[gone, gone_too])), 502, "connect_failed").await;
}

#[tokio::test]
async fn an_endpoint_that_never_answers_is_504() {
    let silent = RawBackend::start(|_, mut stream| async move {
        let mut all = Vec::new();
        drop(stream.read_to_end(&mut all).await);
    })
    .await;
    check(&Fixture::start_with(quick(), Table::all_to(&[silent.address])), 504, "response_timeout").await;
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let backend = Backend::says("reached").await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for (head, status) in [
        ("GET / HTTP/1.1\r\nconnection: close\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\nconnection: close\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a/b\r\nconnection: close\r\n\r\n", 400),
        ("GET http://a/ HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n", 400),
        ("GET /x/../y HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 400),
        ("GET /x/%2E%2e/y HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 400),
        ("GET /%00 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\nconnection: close\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\nconnection: close\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\
             connection: close\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("garbage\r\n\r\n", 400),
    ] {
        let answer = raw_exchange(fixture.http(), head.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head:?} got {answer:?}");
    }
    assert_eq!(backend.requests(), 0, "nothing of it reached the backend");
}

#[tokio::test]
async fn a_malformed_body_is_the_clients_fault() {
    let backend = RawBackend::start(|_, mut stream| async move {
        let mut all = Vec::new();
        drop(stream.read_to_end(&mut all).await);
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for chunks in ["0x3\r\nabc\r\n0\r\n\r\n", "ffffffffffffffffff\r\nabc", "3\r\nabcXX0\r\n\r\n"] {
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        let answer = raw_exchange(fixture.http(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?} got {answer:?}");
    }
    assert_eq!(fixture.metric("lb_l7_replies_total{reason=\"bad_body\"}"), 3);
}

#[tokio::test]
async fn absolute_form_and_old_requests_are_served() {
    let backend = Backend::says("reached").await;
    let table = Table::default().rule("a", "/x", &[backend.address]).rule("", "/old", &[backend.address]);
    let fixture = Fixture::start(table.build());
    for head in
        ["GET http://a/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "GET /old HTTP/1.0\r\n\r\n"]
    {
        let answer = raw_exchange(fixture.http(), head.as_bytes()).await;
        assert!(answer.contains(" 200 ") && answer.ends_with("reached"), "{head:?} got {answer:?}");
    }
}

#[tokio::test]
async fn the_clients_own_request_id_is_kept() {
    let fixture = Fixture::start(Table::default().build());
    let mut own = request("a", "/");
    own.headers_mut().insert("x-request-id", http::HeaderValue::from_static("trace-1"));
    assert_eq!(Http::one(fixture.http()).await.send(own).await.header("x-request-id"), "trace-1");
}
