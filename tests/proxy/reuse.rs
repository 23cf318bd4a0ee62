//! Connections to endpoints are kept, and a stale one costs nobody a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use lb_agent::l7::{Config, Timeouts};
use lb_agent::model::KeyKind::Ecdsa;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{
    Backend, Fixture, Http, RawBackend, Table, all_schemes, certificate, connect_tls, eventually, quick,
    raw_exchange, read_head, request, with_head_time,
};

#[tokio::test]
async fn one_connection_serves_all_requests_in_a_row() {
    let backend = Backend::says("ok").await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = Http::one(fixture.http()).await;
    for _ in 0..50 {
        assert_eq!(client.send(request("a", "/")).await.text(), "ok");
    }
    for _ in 0..10 {
        Http::get(fixture.http(), "a", "/").await;
    }
    assert_eq!((backend.connections(), backend.requests()), (1, 60));
    assert_eq!(fixture.metric("lb_l7_upstream_connects_total{result=\"ok\"}"), 1);
}

#[tokio::test]
async fn idle_connections_are_closed_after_their_time() {
    let closed = Arc::<AtomicBool>::default();
    let ended = closed.clone();
    let backend = RawBackend::start(move |_, mut stream| {
        let ended = ended.clone();
        async move {
            answer_once(&mut stream).await;
            drop(stream.read_to_end(&mut Vec::new()).await);
            ended.store(true, Ordering::SeqCst);
        }
    })
    .await;
    let fixture = Fixture::start_quick(Table::all_to(&[backend.address]));
    assert_eq!(Http::get(fixture.http(), "a", "/").await.text(), "ok");
    eventually("the proxy closes it", || closed.load(Ordering::SeqCst)).await;
    assert_eq!(Http::get(fixture.http(), "a", "/").await.text(), "ok");
    assert_eq!(backend.connections(), 2);
}

/// Reads one head and answers it, with keep-alive.
async fn answer_once(stream: &mut TcpStream) {
    read_head(stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("answer");
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_not_used() {
    let backend = RawBackend::start(|_, mut stream| async move { answer_once(&mut stream).await }).await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for round in 0..20 {
        let mut post = request("a", "/");
        *post.method_mut() = Method::POST;
        assert_eq!(Http::one(fixture.http()).await.send(post).await.text(), "ok", "request {round}");
    }
    assert_eq!(backend.connections(), 20);
}

#[tokio::test]
async fn a_request_that_an_idle_connection_swallowed_is_sent_again() {
    // The second request of each connection is read, and never answered: as if the close had crossed it.
    let backend = RawBackend::start(|_, mut stream| async move {
        answer_once(&mut stream).await;
        drop(stream.read_u8().await);
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = Http::one(fixture.http()).await;
    assert_eq!(client.send(request("a", "/")).await.text(), "ok");
    assert_eq!(client.send(request("a", "/")).await.text(), "ok");
    assert_eq!(fixture.metric("lb_l7_upstream_retries_total{outcome=\"stale\"}"), 1);
    let mut post = request("a", "/");
    *post.method_mut() = Method::POST;
    assert_eq!(client.send(post).await.status, 502, "a POST may have had its effect");
}

/// What an endpoint says is its own fault, over whichever connection.
#[tokio::test]
async fn who_answers_badly_over_a_kept_connection_is_at_fault() {
    for (answer, breach) in [("nonsense\r\n\r\n", "malformed_head"), ("HTTP/1.1 200 OK\r\ncont", "closed")] {
        let backend = RawBackend::start(move |_, mut stream| async move {
            answer_once(&mut stream).await;
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.expect("half an answer");
        })
        .await;
        let fixture = Fixture::start(Table::all_to(&[backend.address]));
        let mut client = Http::one(fixture.http()).await;
        assert_eq!(client.send(request("a", "/")).await.text(), "ok");
        assert_eq!(client.send(request("a", "/")).await.status, 502, "{breach}");
        assert_eq!(fixture.metric(&format!("lb_l7_upstream_breaches_total{{reason=\"{breach}\"}}")), 1);
        assert_eq!(backend.connections(), 1, "{breach}");
    }
}

#[tokio::test]
async fn idle_clients_are_closed() {
    let fixture = Fixture::start_quick(Table::default().build());
    let mut client = Http::one(fixture.http()).await;
    client.send(request("a", "/")).await;
    assert_eq!(fixture.proxy.left().total(), 1);
    eventually("the idle connection is closed", || fixture.proxy.left().total() == 0).await;
}

/// To its end, and no further.
async fn first_answer(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    let head = String::from_utf8(head).expect("ASCII").to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let length = length.expect("a length").parse().expect("a number");
    stream.read_exact(&mut vec![0; length]).await.expect("all of it");
}

#[tokio::test]
async fn a_client_that_never_ends_its_head_is_told_and_closed() {
    let set = |config: &mut Config| config.limits = with_head_time(config.limits, 200);
    let fixture =
        Fixture::start_as(set, Table::default().certificate("", &certificate(Ecdsa, &["a"])).build());
    let count = || fixture.metric("lb_l7_limits_reached_total{limit=\"head-time\"}");
    for (start, counted) in [("", 0), ("G", 1), ("GET / HTTP/1.1\r\nhost: a\r\n", 2)] {
        let answer = raw_exchange(fixture.http(), start.as_bytes()).await;
        assert_eq!(
            (answer.starts_with("HTTP/1.1 408 "), count()),
            (counted > 0, counted),
            "{start:?}: {answer}"
        );
        assert!(counted > 0 || answer.is_empty(), "who says nothing hears nothing: {answer}");
    }
    let mut second = TcpStream::connect(fixture.http()).await.expect("connect");
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("send");
    first_answer(&mut second).await;
    second.write_all(b"GET").await.expect("send");
    let mut answer = String::new();
    second.read_to_string(&mut answer).await.expect("an end long before the idle time is over");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let mut secure = connect_tls(fixture.https(), "a", &[], all_schemes()).await;
    secure.write_all(b"GET").await.expect("send");
    let mut answer = String::new();
    secure.read_to_string(&mut answer).await.expect("an end in order");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!((count(), fixture.metric("lb_l7_replies_total{reason=\"slow_head\"}")), (4, 4));
    assert_eq!(fixture.metric("lb_l7_requests_total{protocol=\"https\",class=\"4xx\"}"), 1);
}

/// An endpoint that answers all requests, and says how long it keeps a connection.
async fn keeps_for(seconds: u32) -> RawBackend {
    RawBackend::start(move |_, mut stream| async move {
        while read_head(&mut stream).await.ends_with(b"\r\n\r\n") {
            let answer =
                format!("HTTP/1.1 200 OK\r\nkeep-alive: timeout={seconds}\r\ncontent-length: 2\r\n\r\nok");
            stream.write_all(answer.as_bytes()).await.expect("answer");
        }
    })
    .await
}

#[tokio::test]
async fn an_endpoints_own_limit_to_idle_connections_counts_where_it_is_shorter() {
    for (seconds, pause, connections) in [(1, 0, 2), (2, 1500, 2), (2, 0, 1), (60, 1500, 1)] {
        let backend = keeps_for(seconds).await;
        let timeouts = Timeouts { upstream_idle: Duration::from_secs(55), ..quick() };
        let fixture = Fixture::start_with(timeouts, Table::all_to(&[backend.address]));
        for _ in 0..2 {
            let answer = Http::get(fixture.http(), "a", "/").await;
            assert_eq!((answer.text(), answer.header("keep-alive")), ("ok", ""));
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        assert_eq!(backend.connections(), connections, "{seconds} s, after {pause} ms");
    }
}
