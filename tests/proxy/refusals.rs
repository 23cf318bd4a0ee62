//! What is refused of clients is told to the log by its reason, and whose it was: once in a while, for anybody can have
//! it refused.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, frame,
};
use super::support::{Backend, Fixture, Log, Table, eventually, is_alone, raw_exchange};

/// The head of a GET to `http://a/`, and a header that is none of HTTP/2: `te: x`.
const FORBIDDEN: &[u8] = &[0x82, 0x84, 0x86, 0x41, 1, b'a', 0, 2, b't', b'e', 1, b'x'];

/// Sends these frames, and reads until the connection ends or is left.
async fn send(fixture: &Fixture, frames: &[Vec<u8>]) {
    let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
    let sent = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frames.concat()].concat();
    client.write_all(&sent).await.expect("sent");
    client.shutdown().await.expect("our side ends");
    drop(client.read_to_end(&mut Vec::new()).await);
}

#[tokio::test]
async fn the_log_is_told_of_each_reason_once_in_a_while() {
    // A log is that of a whole process.
    if !is_alone("refusals::the_log_is_told_of_each_reason_once_in_a_while") {
        return;
    }
    let log = Log::start();
    let backend = Backend::says("ok").await;
    let set = |config: &mut lb_agent::l7::Config| {
        config.limits = config.limits.with("connections-per-client=2".parse().expect("a setting"));
    };
    let fixture = Fixture::start_as(set, Table::all_to(&[backend.address]));
    let closed = || eventually("all are closed", || fixture.proxy.left().total() == 0);
    for _ in 0..3 {
        raw_exchange(fixture.http(), b"POST / HTTP/1.1\r\nhost : a\r\n\r\n").await;
    }
    raw_exchange(fixture.http(), format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000)).as_bytes()).await;
    send(&fixture, &[frame(HEADERS, END_HEADERS | END_STREAM, 1, FORBIDDEN)]).await;
    send(&fixture, &[frame(DATA, END_STREAM, 0, b"abc")]).await;
    let more = frame(CONTINUATION, 0, 1, &[0x10, 1, b'x', 1, b'y']);
    send(&fixture, &[&[frame(HEADERS, END_STREAM, 1, &FORBIDDEN[..6])][..], &vec![more; 9]].concat()).await;
    raw_exchange(fixture.https(), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    closed().await;
    let held = [TcpStream::connect(fixture.http()).await, TcpStream::connect(fixture.http()).await];
    eventually("they are taken", || fixture.proxy.left().total() == 2).await;
    raw_exchange(fixture.http(), b"").await;
    drop(held);
    closed().await;
    for (reason, what) in [
        ("header_name", "a client sent"),
        ("target-bytes", "a client reached a limit"),
        ("http2_message", "a client sent"),
        ("http2_frame", "a client sent"),
        ("http2-header-frames", "a client reached a limit"),
        ("malformed", "a TLS handshake failed"),
        ("connections-per-client", "a client reached a limit"),
    ] {
        let lines = log.lines(&format!("reason=\"{reason}\""));
        let [line] = &lines[..] else { panic!("one line with {reason}: {lines:?} of {:?}", log.lines("")) };
        let has = |part: &str| line.contains(part);
        assert!(has(" INFO ") && has(what) && has("client=127.0.0.1") && has("untold=0"), "{line}");
    }
    assert_eq!(fixture.metric("lb_l7_malformed_requests_total{reason=\"header_name\"}"), 3);
}
