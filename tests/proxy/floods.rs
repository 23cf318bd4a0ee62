//! HTTP/2 floods: each reaches a limit that is counted under its name, and its connection ends; other clients go on.

use http::Response;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, frame,
};
use super::support::{Backend, Fixture, Http, Table, eventually, request, text};

/// `GET http://a/`, all from the static table but the authority.
const GET: &[u8] = &[0x82, 0x84, 0x86, 0x41, 0x01, b'a'];
/// The same as POST.
const POST: &[u8] = &[0x83, 0x84, 0x86, 0x41, 0x01, b'a'];

/// Sends the preface and these frames, then reads until the proxy ends the connection.
async fn flood(fixture: &Fixture, frames: impl Iterator<Item = Vec<u8>>) {
    let stream = TcpStream::connect(fixture.http()).await.expect("connect");
    let (mut reading, mut writing) = stream.into_split();
    let mut sent = PREFACE.to_vec();
    sent.extend(frame(SETTINGS, 0, 0, &[]));
    sent.extend(frames.flatten());
    // Of a connection that ends meanwhile, not all can be sent.
    let sending = tokio::spawn(async move {
        _ = writing.write_all(&sent).await;
        writing
    });
    _ = reading.read_to_end(&mut Vec::new()).await;
    drop(sending.await.expect("no panic"));
}

async fn check(limit: &str, frames: impl Iterator<Item = Vec<u8>>) {
    let backend = Backend::start(|request| async move {
        // A body that never ends has no answer.
        drop(request.into_body().collect().await);
        Response::new(text("hello"))
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut other = Http::two(fixture.http()).await;
    flood(&fixture, frames).await;
    let line = format!("lb_l7_limits_reached_total{{limit=\"{limit}\"}}");
    eventually(limit, || fixture.metric(&line) == 1).await;
    eventually("one connection is left", || fixture.proxy.left().total() == 1).await;
    let request =
        http::Request::builder().uri("http://a/").body(request("a", "/").into_body()).expect("a request");
    assert_eq!(other.send(request).await.text(), "hello");
}

fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

#[tokio::test]
async fn frames_that_ask_for_no_work() {
    for (kind, flags, stream, payload) in [
        (PING, 0, 0, &[0; 8][..]),
        (SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
        (PRIORITY, 0, 1, &[0, 0, 0, 0, 16]),
        (WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        (0x42, 0, 0, &[]),
    ] {
        check("http2-control-frames", std::iter::repeat_n(frame(kind, flags, stream, payload), 20_000)).await;
    }
}

#[tokio::test]
async fn empty_data() {
    let begin = frame(HEADERS, END_HEADERS, 1, POST);
    let empty = std::iter::repeat_n(frame(DATA, 0, 1, &[]), 20_000);
    check("http2-control-frames", std::iter::once(begin).chain(empty)).await;
}

#[tokio::test]
async fn continuations_without_end() {
    let begin = frame(HEADERS, END_STREAM, 1, GET);
    // Never indexed: a literal name and value.
    let more = frame(CONTINUATION, 0, 1, &[0x10, 1, b'x', 1, b'y']);
    check("http2-header-frames", std::iter::once(begin).chain(std::iter::repeat_n(more, 1000))).await;
}

#[tokio::test]
async fn a_header_block_that_is_too_long() {
    let begin = frame(HEADERS, END_STREAM, 1, GET);
    let more = frame(CONTINUATION, 0, 1, &[0; 16_384]);
    check("http2-header-bytes", std::iter::once(begin).chain(std::iter::repeat_n(more, 5))).await;
}

#[tokio::test]
async fn streams_that_are_taken_back_at_once() {
    let pairs = streams().take(1000).flat_map(|stream| {
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, GET), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]
    });
    check("http2-pending-resets", pairs).await;
}

#[tokio::test]
async fn streams_that_are_taken_back_many_times() {
    let begin = frame(HEADERS, END_HEADERS | END_STREAM, 1, GET);
    let resets = std::iter::repeat_n(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), 1000);
    check("http2-resets", std::iter::once(begin).chain(resets)).await;
}

#[tokio::test]
async fn streams_that_the_client_makes_us_reset() {
    // A window that would overflow is an error of the stream alone (MadeYouReset).
    let pairs = streams().take(1000).flat_map(|stream| {
        [
            frame(HEADERS, END_HEADERS, stream, POST),
            frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]),
        ]
    });
    check("http2-local-resets", pairs).await;
}
