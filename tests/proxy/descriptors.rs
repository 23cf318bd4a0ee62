//! A process that has no descriptors left: connections wait, which is counted and told, and are served once there are some;
//! and endpoints to which there are none for want of them are not to blame.

use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::support::{
    Backend, Fixture, Http, Log, RawBackend, Table, eventually, is_alone, read_head, request,
};

const FAILURES: &str = "lb_l7_accept_failures_total{reason=\"process_descriptors\"}";

const TOLD: &str = "connections wait";

#[tokio::test]
async fn connections_wait_for_descriptors_and_are_served() {
    // The limit is that of a whole process.
    if !is_alone("descriptors::connections_wait_for_descriptors_and_are_served") {
        return;
    }
    let log = Log::start();
    let backend = Backend::says("ok").await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut open = Http::one(fixture.http()).await;
    assert_eq!(open.send(request("a", "/")).await.text(), "ok");
    let sockets: Vec<_> = (0..3).map(|_| TcpSocket::new_v4().expect("a socket")).collect();
    let limits = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, 0, limits.1).expect("fewer");

    let mut waiting: Vec<TcpStream> = Vec::new();
    for socket in sockets {
        let mut stream = socket.connect(fixture.http()).await.expect("the kernel takes it");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("sent");
        waiting.push(stream);
    }
    eventually("it is tried", || fixture.metric(FAILURES) > 0).await;
    let (began, before) = (Instant::now(), fixture.metric(FAILURES));
    eventually("it is tried again", || fixture.metric(FAILURES) >= before + 10).await;
    assert!(began.elapsed().as_millis() >= 10 * 50 - 50, "it does little else: {:?}", began.elapsed());
    assert_eq!(open.send(request("a", "/")).await.text(), "ok", "who has a connection is served");

    setrlimit(Resource::RLIMIT_NOFILE, limits.0, limits.1).expect("as many as before");
    for mut stream in waiting {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let failures = fixture.metric(FAILURES);
    assert_eq!(Http::get(fixture.http(), "a", "/").await.text(), "ok");
    assert_eq!(fixture.metric(FAILURES), failures, "nothing fails any more");
    assert_eq!(log.lines(TOLD).len(), 1, "the log is told once, not {failures} times");
}

#[tokio::test]
async fn endpoints_are_not_to_blame_for_what_is_short_here() {
    if is_alone("descriptors::endpoints_are_not_to_blame_for_what_is_short_here") {
        nothing_is_left().await;
    }
}

/// An endpoint with a new connection for each request.
async fn closes() -> RawBackend {
    RawBackend::start(|_, mut stream| async move {
        read_head(&mut stream).await;
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await);
    })
    .await
}

async fn nothing_is_left() {
    let log = Log::start();
    let (one, two) = (closes().await, closes().await);
    let fixture = Fixture::start(Table::all_to(&[one.address, two.address]));
    let mut client = Http::one(fixture.http()).await;
    assert_eq!(client.send(request("a", "/")).await.text(), "ok");
    let limits = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, 0, limits.1).expect("fewer");
    for _ in 0..10 {
        let answer = client.send(request("a", "/")).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
    }
    assert_eq!(fixture.metric("lb_l7_replies_total{reason=\"overloaded\"}"), 10);
    let short = fixture.metric("lb_l7_upstream_shortages_total{reason=\"process_descriptors\"}");
    assert_eq!(short, 20, "each endpoint is tried");
    assert_eq!(fixture.metric("lb_l7_upstream_ejections_total{reason=\"connect\"}"), 0);
    setrlimit(Resource::RLIMIT_NOFILE, limits.0, limits.1).expect("as many as before");
    assert_eq!(client.send(request("a", "/")).await.text(), "ok");
    assert_eq!(log.lines("no connections to endpoints").len(), 1, "the log is told once");
}
