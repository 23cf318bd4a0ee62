//! HTTP/2 heads that begin and do not end in time: counted under the name of the limit that heads of HTTP/1 have, and their
//! connection ends with a GOAWAY, whatever else is under way on it.

use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use lb_agent::l7::Config;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;

use super::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, POST, PREFACE, SETTINGS, frame,
    read_frame,
};
use super::support::{
    Backend, Fixture, Http, Table, all_schemes, certificate, connect_tls, eventually, request, text,
    with_head_time,
};

/// `GET http://a/slow`.
const SLOW: &[u8] = &[0x82, 0x04, 5, b'/', b's', b'l', b'o', b'w', 0x86, 0x41, 0x01, b'a'];

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An HTTP/2 client's connection, after its preface and settings.
struct Client {
    reading: ReadHalf<Box<dyn Stream>>,
    writing: WriteHalf<Box<dyn Stream>>,
}

impl Client {
    async fn connect(fixture: &Fixture, tls: bool) -> Self {
        let stream: Box<dyn Stream> = match tls {
            true => Box::new(connect_tls(fixture.https(), "a", &["h2"], all_schemes()).await),
            false => Box::new(TcpStream::connect(fixture.http()).await.expect("connect")),
        };
        let (reading, writing) = tokio::io::split(stream);
        let mut client = Self { reading, writing };
        client.send(PREFACE).await;
        client.send(&frame(SETTINGS, 0, 0, &[])).await;
        client
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.writing.write_all(bytes).await.expect("sent");
        self.writing.flush().await.expect("sent");
    }

    /// Reads until a response comes, which has no body.
    async fn hears_answer_to(&mut self, stream: u32) {
        loop {
            let frame = read_frame(&mut self.reading).await.expect("a frame");
            if (frame.kind, frame.stream) == (HEADERS, stream) {
                return;
            }
        }
    }

    /// Sends this again and again, until the proxy ends the connection. Whether it said so before.
    async fn goes_on(mut self, again: &[u8]) -> bool {
        let sending = async {
            while !again.is_empty() && self.writing.write_all(again).await.is_ok() {
                _ = self.writing.flush().await;
                tokio::time::sleep(Duration::from_millis(90)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut has_said_so = false;
        let reading = async {
            while let Ok(frame) = read_frame(&mut self.reading).await {
                has_said_so |= frame.kind == GOAWAY;
            }
        };
        tokio::select! {
            () = sending => {}
            () = reading => {}
        }
        has_said_so
    }
}

/// Nothing but a head has little time.
fn set(config: &mut Config) {
    config.limits = with_head_time(config.limits, 300);
}

/// Answers with nothing; `/slow` never.
async fn fixture() -> (Fixture, Backend) {
    let backend = Backend::start(|request| async move {
        if request.uri().path() == "/slow" {
            std::future::pending::<()>().await;
        }
        drop(request.into_body().collect().await);
        Response::new(text(""))
    })
    .await;
    let table = Table::default().certificate("a", &certificate(lb_agent::model::KeyKind::Ecdsa, &["a"]));
    (Fixture::start_as(set, table.default_backend("", &[backend.address]).build()), backend)
}

fn reached(fixture: &Fixture) -> [u64; 2] {
    ["head-time", "idle-time"]
        .map(|limit| fixture.metric(&format!("lb_l7_limits_reached_total{{limit=\"{limit}\"}}")))
}

/// What a head begins with on this stream, and how it goes on.
fn heads(stream: u32) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let open = frame(HEADERS, END_STREAM, stream, GET);
    let whole = frame(HEADERS, END_STREAM | END_HEADERS, stream, &[GET, &[0; 1000]].concat());
    // Never indexed: a literal name and value.
    let more = frame(CONTINUATION, 0, stream, &[0x10, 1, b'x', 1, b'y']);
    vec![
        ("no continuation", open.clone(), Vec::new()),
        ("continuations", open, more),
        ("a frame's bytes", whole[..12].to_vec(), vec![0x10]),
        ("a frame's head", whole[..5].to_vec(), Vec::new()),
    ]
}

#[tokio::test]
async fn a_head_that_does_not_end_is_counted_and_ends_its_connection() {
    let (fixture, _backend) = fixture().await;
    let mut other = Http::one(fixture.http()).await;
    assert_eq!(other.send(request("a", "/")).await.status, 200);
    let mut count = 0;
    for tls in [false, true] {
        for before in ["nothing", "a request", "one under way"] {
            let stream = if before == "nothing" { 1 } else { 3 };
            for (what, begins, again) in heads(stream) {
                let mut client = Client::connect(&fixture, tls).await;
                match before {
                    "a request" => {
                        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)).await;
                        client.hears_answer_to(1).await;
                    }
                    "one under way" => {
                        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, SLOW)).await;
                    }
                    _ => {}
                }
                client.send(&begins).await;
                assert!(client.goes_on(&again).await, "{what} after {before}: no GOAWAY");
                count += 1;
                assert_eq!(reached(&fixture), [count, 0], "{what} after {before}, tls {tls}");
                assert_eq!(other.send(request("a", "/")).await.status, 200);
            }
        }
    }
    eventually("the other is left", || fixture.proxy.left().total() == 1).await;
}

#[tokio::test]
async fn a_preface_that_does_not_end_is_a_late_head() {
    let (fixture, _backend) = fixture().await;
    for (count, cut) in [(1, 5), (2, 20)] {
        let mut stream = TcpStream::connect(fixture.http()).await.expect("connect");
        stream.write_all(&PREFACE[..cut]).await.expect("sent");
        _ = stream.read_to_end(&mut Vec::new()).await;
        assert_eq!(reached(&fixture), [count, 0], "{cut} bytes");
    }
}

#[tokio::test]
async fn a_connection_without_a_head_is_idle() {
    let (fixture, _backend) = fixture().await;
    for (tls, count) in [(false, 1), (true, 2)] {
        let client = Client::connect(&fixture, tls).await;
        assert!(client.goes_on(&[]).await);
        assert_eq!(reached(&fixture), [0, count]);
    }
}

#[tokio::test]
async fn a_body_may_take_longer() {
    let (fixture, _backend) = fixture().await;
    let mut client = Client::connect(&fixture, false).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, POST)).await;
    let body = frame(DATA, END_STREAM, 1, &[b'x'; 100]);
    client.send(&body[..50]).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    client.send(&body[50..]).await;
    client.hears_answer_to(1).await;
    assert_eq!(reached(&fixture), [0, 0]);
}
