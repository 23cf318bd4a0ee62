//! Requests that two servers could read differently: refused, counted by reason, and none of their bytes gets to a
//! backend. What was in order before them is answered first.

use http::{Method, Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::support::{Backend, Fixture, Http, Table, eventually, raw_exchange, request, text};

async fn hello() -> Backend {
    Backend::start(|request| async move {
        let path = request.uri().path().to_owned();
        match request.into_body().collect().await {
            Ok(body) => Response::new(text(format!("{path} {}", body.to_bytes().len()))),
            Err(_) => Response::new(text("broken")),
        }
    })
    .await
}

fn malformed(fixture: &Fixture, reason: &str) -> u64 {
    fixture.metric(&format!("lb_l7_malformed_requests_total{{reason=\"{reason}\"}}"))
}

#[tokio::test]
async fn heads_with_two_readings_are_refused_and_counted() {
    let backend = hello().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for (lines, reason) in [
        ("content-length: 3\r\ncontent-length: 3\r\n\r\nabc", "repeated_length"),
        ("content-length: 3, 3\r\n\r\nabc", "bad_length"),
        ("content-length: +3\r\n\r\nabc", "bad_length"),
        ("content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "length_and_coding"),
        ("transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n", "length_and_coding"),
        ("transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "unknown_coding"),
        ("transfer-encoding: identity\r\n\r\n", "unknown_coding"),
        ("transfer-encoding : chunked\r\n\r\n0\r\n\r\n", "header_name"),
        ("x: y\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n", "folded_header"),
        ("x: y\nz: a\r\n\r\n", "bare_lf"),
        ("x: y\rz: a\r\n\r\n", "bare_cr"),
        ("x: \0\r\n\r\n", "control_byte"),
    ] {
        let before = malformed(&fixture, reason);
        let sent = format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = raw_exchange(fixture.http(), sent.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{lines:?}: {answer}");
        assert!(
            answer.contains("\r\nx-request-id: ") && answer.contains("\r\nconnection: close\r\n"),
            "{answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        eventually(reason, || malformed(&fixture, reason) == before + 1).await;
    }
    assert_eq!(backend.connections(), 0, "nothing of it got there");
    assert_eq!(fixture.metric("lb_l7_replies_total{reason=\"malformed\"}"), 12);
    assert_eq!(fixture.metric("lb_l7_requests_total{protocol=\"http\",class=\"4xx\"}"), 12);
}

#[tokio::test]
async fn chunks_with_two_readings_end_the_request() {
    let backend = hello().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for (chunks, reason) in [
        ("3\nabc\r\n0\r\n\r\n", "bare_lf"),
        ("3 \r\nabc\r\n0\r\n\r\n", "chunk_size"),
        ("3\r\nabcGET / HTTP/1.1\r\n\r\n", "chunk_end"),
        ("3\r\nabc\r\n0\r\ncontent-length: 5\r\n\r\n", "trailer"),
    ] {
        let sent = format!(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        );
        let answer = raw_exchange(fixture.http(), sent.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        eventually(reason, || malformed(&fixture, reason) == 1).await;
    }
}

#[tokio::test]
async fn what_is_in_order_before_is_answered_first() {
    let backend = hello().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let sent = "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nPOST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n\r\n\
                GET /3 HTTP/1.1\r\nhost : a\r\n\r\n";
    let answer = raw_exchange(fixture.http(), sent.as_bytes()).await;
    let statuses: Vec<_> = answer.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
    assert_eq!(statuses, ["200", "200", "400"], "{answer}");
    assert!(answer.contains("/1 0") && answer.contains("/2 2"), "{answer}");
    assert_eq!(backend.requests(), 2);
}

#[tokio::test]
async fn a_refused_request_waits_for_the_response_under_way() {
    let go = std::sync::Arc::new(Notify::new());
    let gate = go.clone();
    let backend = Backend::start(move |_| {
        let gate = gate.clone();
        async move {
            gate.notified().await;
            Response::new(text("late"))
        }
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("send");
    eventually("the backend has it", || backend.requests() == 1).await;
    client.write_all(b"GET / HTTP/1.1\nhost: a\n\n").await.expect("send");
    // The proxy has read it when its own buffer is empty again; the response must still come.
    eventually("it is refused", || {
        go.notify_one();
        malformed(&fixture, "bare_lf") == 1
    })
    .await;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an end in order");
    let statuses: Vec<_> = answer.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
    assert_eq!(statuses, ["200", "400"], "{answer}");
    assert!(answer.contains("late"), "{answer}");
}

#[tokio::test]
async fn heads_that_are_too_large_have_their_own_answers_and_metrics() {
    let backend = hello().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for (sent, status, limit) in [
        (format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(65_536)), 431, "head-bytes"),
        (format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(100)), 431, "headers"),
        (format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(16_384)), 414, "target-bytes"),
    ] {
        let answer = raw_exchange(fixture.http(), sent.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{limit}: {answer}");
        let line = format!("lb_l7_limits_reached_total{{limit=\"{limit}\"}}");
        eventually(limit, || fixture.metric(&line) == 1).await;
    }
    // What is as large as allowed passes.
    let mut largest = request("a", &format!("/{}", "x".repeat(16_383)));
    for number in 0..90 {
        let name: http::HeaderName = format!("x-{number}").parse().expect("a name");
        largest.headers_mut().insert(name, "y".repeat(400).parse().expect("a value"));
    }
    *largest.method_mut() = Method::PUT;
    assert_eq!(Http::one(fixture.http()).await.send(largest).await.status, 200);
}

#[tokio::test]
async fn extensions_and_trailers_without_end_are_cut_off() {
    let backend = hello().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for (chunks, limit) in [
        (format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(5), "chunk-extension-bytes"),
        (format!("0\r\n{}", format!("x: {}\r\n", "y".repeat(1000)).repeat(9)), "trailer-bytes"),
    ] {
        let sent = format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        let answer = raw_exchange(fixture.http(), sent.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{limit}: {answer}");
        let line = format!("lb_l7_limits_reached_total{{limit=\"{limit}\"}}");
        eventually(limit, || fixture.metric(&line) == 1).await;
    }
}
