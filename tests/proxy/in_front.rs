//! Proxies in front of this one: what they say of a client's address counts, if they are trusted.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, Response};
use lb_agent::l7::Trust;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{
    Backend, Fixture, Http, Table, all_schemes, connect_tls_over, eventually, raw_exchange, request, text,
};

const LOOPBACK: &str = "127.0.0.0/8";

fn trusting(headers: &[&str], proxy_protocol: &[&str]) -> Trust {
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect();
    Trust { headers: networks(headers), proxy_protocol: networks(proxy_protocol) }
}

/// What the backend was told last.
type Told = Arc<Mutex<HeaderMap>>;

async fn start(trust: Trust) -> (Fixture, Told, Backend) {
    let told = Told::default();
    let seen = told.clone();
    let backend = Backend::start(move |request| {
        *seen.lock().expect("no panic before") = request.headers().clone();
        async { Response::new(text("ok")) }
    })
    .await;
    let table = Table::all_to(&[backend.address]);
    (Fixture::start_as(|config| config.trust = trust, table), told, backend)
}

fn header(told: &Told, name: &str) -> String {
    let told = told.lock().expect("no panic before");
    told.get(name).map_or("", |value| value.to_str().expect("ASCII")).to_owned()
}

#[tokio::test]
async fn headers_of_a_trusted_proxy_are_gone_on_with() {
    let (fixture, told, _backend) = start(trusting(&[LOOPBACK], &[])).await;
    let mut sent = request("a", "/");
    for (name, value) in [("x-forwarded-for", "198.51.100.7, 203.0.113.9"), ("x-forwarded-proto", "https")] {
        sent.headers_mut().insert(name, value.parse().expect("a value"));
    }
    Http::one(fixture.http()).await.send(sent).await;
    assert_eq!(header(&told, "x-forwarded-for"), "198.51.100.7, 203.0.113.9, 127.0.0.1");
    assert_eq!(header(&told, "x-real-ip"), "203.0.113.9");
    assert_eq!(header(&told, "x-forwarded-proto"), "https");
}

#[tokio::test]
async fn a_proxy_header_names_the_client() {
    let (fixture, told, _backend) = start(trusting(&[], &[LOOPBACK])).await;
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\xc6\x33\x64\x01\x9d\x79\x01\xbb";
    for (header_bytes, client) in [
        (&b"PROXY TCP4 192.0.2.7 198.51.100.1 40313 80\r\n"[..], "192.0.2.7"),
        (v2, "192.0.2.8"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ] {
        let request = [header_bytes, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"].concat();
        let answer = raw_exchange(fixture.http(), &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(
            (header(&told, "x-forwarded-for"), header(&told, "x-real-ip")),
            (client.into(), client.into())
        );
    }
}

#[tokio::test]
async fn tls_follows_a_proxy_header() {
    let (fixture, told, _backend) = start(trusting(&[], &[LOOPBACK])).await;
    let mut stream = TcpStream::connect(fixture.https()).await.expect("connect");
    stream.write_all(b"PROXY TCP6 2001:db8::7 2001:db8::1 40313 443\r\n").await.expect("send");
    let stream = connect_tls_over(stream, "a", &[], all_schemes()).await;
    assert_eq!(Http::one_over(stream).await.send(request("a", "/")).await.status, 200);
    assert_eq!(header(&told, "x-real-ip"), "2001:db8::7");
}

#[tokio::test]
async fn who_is_to_send_a_header_and_does_not_is_closed_and_counted() {
    let (fixture, _told, backend) = start(trusting(&[], &[LOOPBACK])).await;
    let mut stream = TcpStream::connect(fixture.http()).await.expect("connect");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").await.expect("send");
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    let line = "lb_l7_malformed_requests_total{reason=\"proxy_header\"}";
    eventually("it is counted", || fixture.metric(line) == 1).await;
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_header_of_somebody_else_is_no_http() {
    let (fixture, _told, backend) = start(trusting(&[], &["192.0.2.0/24"])).await;
    let sent = b"PROXY TCP4 192.0.2.7 198.51.100.1 40313 80\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = raw_exchange(fixture.http(), sent).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(backend.requests(), 0);
}

/// Whether a connection that begins so is served.
async fn is_served(fixture: &Fixture, begins: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(fixture.http()).await.expect("connect");
    let sent = format!("{begins}GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    _ = stream.write_all(sent.as_bytes()).await;
    let mut answer = [0; 12];
    let is_answered = stream.read_exact(&mut answer).await.is_ok() && answer.ends_with(b" 200");
    is_answered.then_some(stream)
}

#[tokio::test]
async fn those_behind_a_proxy_are_clients_and_it_is_none() {
    let backend = Backend::says("ok").await;
    let reached = "lb_l7_limits_reached_total{limit=\"connections-per-client\"}";
    let start = |trust: Trust| {
        let set = |config: &mut lb_agent::l7::Config| {
            config.trust = trust;
            config.limits = config.limits.with("connections-per-client=2".parse().expect("a setting"));
        };
        Fixture::start_as(set, Table::all_to(&[backend.address]))
    };
    let by_headers = start(trusting(&[LOOPBACK], &[]));
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(is_served(&by_headers, "").await.expect("it has the requests of many"));
    }
    assert_eq!(by_headers.metric(reached), 0);
    let by_connections = start(trusting(&[], &[LOOPBACK]));
    for client in [1, 2, 3, 1, 2, 3] {
        let header = format!("PROXY TCP4 192.0.2.{client} 198.51.100.1 40313 80\r\n");
        open.push(is_served(&by_connections, &header).await.expect("each may have two"));
    }
    let third = "PROXY TCP4 192.0.2.1 198.51.100.1 40313 80\r\n";
    assert!(is_served(&by_connections, third).await.is_none());
    assert_eq!(by_connections.metric(reached), 1);
    assert!(is_served(&by_connections, "PROXY UNKNOWN\r\n").await.is_some(), "the proxy's own");
}
