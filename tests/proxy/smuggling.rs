//! Requests that two servers could read differently: refused, counted by reason, and none of their bytes gets to a
//! backend. What was in order before them is answered first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::support::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, frame, read_frame,
};
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
    let go = Arc::new(Notify::new());
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

/// A field of HTTP/2 that is in no table (RFC 7541 section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).expect("short");
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// The head of a POST to `http://a/` with these fields.
fn post(fields: &[u8]) -> Vec<u8> {
    let block = [&[0x83, 0x84, 0x86, 0x41, 0x01, b'a'], fields].concat();
    frame(HEADERS, END_HEADERS, 1, &block)
}

/// Sends these frames over HTTP/2: the data that came back, if any did before the stream or the connection ended.
async fn send(fixture: &Fixture, frames: &[Vec<u8>]) -> Option<String> {
    let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
    let sent = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frames.concat()].concat();
    client.write_all(&sent).await.expect("sent");
    loop {
        let frame = read_frame(&mut client).await.ok()?;
        match frame.kind {
            DATA => return Some(String::from_utf8_lossy(&frame.payload).into_owned()),
            RST_STREAM | GOAWAY => return None,
            _ => {}
        }
    }
}

#[tokio::test]
async fn heads_of_http2_with_two_readings_are_refused_and_counted() {
    let backend = hello().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let length = |value| field("content-length", value);
    let body = || frame(DATA, END_STREAM, 1, b"abc");
    assert_eq!(send(&fixture, &[post(&length("3")), body()]).await.as_deref(), Some("/ 3"));
    // Of what is no header at all, the library makes an end with the connection.
    let refused = || malformed(&fixture, "http2_message") + malformed(&fixture, "http2_frame");
    for fields in [
        field("connection", "close"),
        field("transfer-encoding", "chunked"),
        field("keep-alive", "timeout=1"),
        field("proxy-connection", "close"),
        field("upgrade", "h2c"),
        field("te", "gzip"),
        field("X", "y"),
        field("x:y", "z"),
        field("x y", "z"),
        field("", "z"),
        field("x", "y\r\nz: a"),
        field("x", "\0"),
        field(":x", "y"),
        field(":status", "200"),
        field(":path", "/b"),
        field(":authority", "b"),
        [field("x", "y"), field(":authority", "b")].concat(),
        length("+3"),
        length("3, 3"),
        length("x"),
        [length("3"), length("4")].concat(),
    ] {
        let before = refused();
        let shown = String::from_utf8_lossy(&fields);
        assert_eq!(send(&fixture, &[post(&fields), body()]).await, None, "{shown:?}");
        eventually(&shown, || refused() == before + 1).await;
    }
    // These get an answer: what they say can be said, but not so.
    for (fields, metric) in [
        ([length("3"), length("3")].concat(), "lb_l7_malformed_requests_total{reason=\"repeated_length\"}"),
        (field("host", "b"), "lb_l7_replies_total{reason=\"bad_host\"}"),
    ] {
        let answer = send(&fixture, &[post(&fields), body()]).await;
        assert!(answer.as_ref().is_some_and(|text| text.starts_with("400 ")), "{answer:?}");
        assert_eq!(fixture.metric(metric), 1, "{metric}");
    }
    assert_eq!(backend.requests(), 1, "none of them got there");
}

#[tokio::test]
async fn bodies_of_http2_with_two_readings_do_not_get_to_a_backend_whole() {
    let whole = Arc::<AtomicUsize>::default();
    let counter = whole.clone();
    let backend = Backend::start(move |request| {
        let counter = counter.clone();
        async move {
            if request.into_body().collect().await.is_ok() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
            Response::new(text("done"))
        }
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let (part, last) = (frame(DATA, 0, 1, b"abc"), frame(DATA, END_STREAM, 1, b"abc"));
    let length = |value| post(&field("content-length", value));
    let trailers = |flags, fields: &[u8]| frame(HEADERS, END_HEADERS | flags, 1, fields);
    for (name, frames) in [
        ("longer than it says", vec![length("2"), last.clone()]),
        ("shorter than it says", vec![length("4"), last.clone()]),
        ("much shorter than it says", vec![length("5000000000"), part.clone(), last.clone()]),
        ("a part of it is longer", vec![length("4"), part.clone(), last.clone()]),
        (
            "trailers before it is whole",
            vec![length("4"), part.clone(), trailers(END_STREAM, &field("x", "y"))],
        ),
        (
            "trailers that end nothing",
            vec![post(&[]), part.clone(), trailers(0, &field("x", "y")), last.clone()],
        ),
    ] {
        let before = malformed(&fixture, "http2_message");
        assert_eq!(send(&fixture, &frames).await, None, "{name}");
        eventually(name, || malformed(&fixture, "http2_message") == before + 1).await;
    }
    assert_eq!(send(&fixture, &[length("3"), last]).await.as_deref(), Some("done"));
    assert_eq!(whole.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn frames_that_may_not_be_end_the_connection_and_are_counted() {
    let backend = hello().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for (number, (name, frames)) in (1..).zip([
        ("data of no stream", vec![frame(DATA, END_STREAM, 0, b"abc")]),
        ("data of an idle stream", vec![frame(DATA, END_STREAM, 1, b"abc")]),
        ("a stream of the server's", vec![frame(HEADERS, END_HEADERS | END_STREAM, 2, &[0x82, 0x84, 0x86])]),
        ("no index of a table", vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0x03])]),
        ("a block that is cut by another frame", vec![frame(HEADERS, 0, 1, &[0x82]), post(&[])]),
    ]) {
        assert_eq!(send(&fixture, &frames).await, None, "{name}");
        eventually(name, || malformed(&fixture, "http2_frame") == number).await;
    }
    assert_eq!(backend.connections(), 0);
}
