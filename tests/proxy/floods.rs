//! HTTP/2 floods: each reaches a limit that is counted under its name, and its connection ends; other clients go on.

use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use lb_agent::l7::{Config, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::support::floods::{
    continuation, continuations, empty_data, made_to_reset, pings, settings, streams, table_bomb, taken_back,
};
use super::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, HEADERS, PADDED, PREFACE, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, read_frame,
};
use super::support::{Backend, Fixture, Http, Table, eventually, request, text, with_head_time};

/// How frames come: all at once, or each after a pause, so that the proxy sees one at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Come {
    Together,
    OneByOne,
}

/// Sends the preface and these frames, then reads until the proxy ends the connection.
async fn flood(fixture: &Fixture, come: Come, frames: impl Iterator<Item = Vec<u8>>) {
    let stream = TcpStream::connect(fixture.http()).await.expect("connect");
    stream.set_nodelay(true).expect("set");
    let (mut reading, mut writing) = stream.into_split();
    let mut parts = vec![[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()];
    parts.extend(frames);
    if come == Come::Together {
        parts = vec![parts.concat()];
    }
    // Of a connection that ends meanwhile, not all can be sent.
    let sending = tokio::spawn(async move {
        for part in parts {
            if writing.write_all(&part).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        writing
    });
    _ = reading.read_to_end(&mut Vec::new()).await;
    drop(sending.await.expect("no panic"));
}

async fn check(limit: &str, frames: impl Iterator<Item = Vec<u8>>) {
    check_with(30_000, limit, Come::Together, frames).await;
}

/// The same where each frame comes by itself.
async fn check_one_by_one(limit: &str, frames: impl Iterator<Item = Vec<u8>>) {
    check_with(30_000, limit, Come::OneByOne, frames).await;
}

async fn check_with(head_time: u64, limit: &str, come: Come, frames: impl Iterator<Item = Vec<u8>>) {
    let backend = Backend::start(|request| async move {
        // A body that never ends has no answer.
        drop(request.into_body().collect().await);
        Response::new(text("hello"))
    })
    .await;
    let set = |config: &mut Config| config.limits = with_head_time(config.limits, head_time);
    let fixture = Fixture::start_as(set, Table::all_to(&[backend.address]));
    let mut other = Http::two(fixture.http()).await;
    let hello =
        || http::Request::builder().uri("http://a/").body(request("a", "/").into_body()).expect("a request");
    assert_eq!(other.send(hello()).await.text(), "hello");
    flood(&fixture, come, frames).await;
    let line = format!("lb_l7_limits_reached_total{{limit=\"{limit}\"}}");
    eventually(limit, || fixture.metric(&line) == 1).await;
    let all = fixture.exported();
    let reached =
        all.lines().filter(|line| line.starts_with("lb_l7_limits_reached_total{") && !line.ends_with(" 0"));
    assert_eq!(reached.count(), 1, "no other limit: {all}");
    eventually("one connection is left", || fixture.proxy.left().total() == 1).await;
    assert_eq!(other.send(hello()).await.text(), "hello");
}

#[tokio::test]
async fn frames_that_ask_for_no_work() {
    const LIMIT: &str = "http2-control-frames";
    check(LIMIT, pings(20_000)).await;
    check(LIMIT, settings(20_000)).await;
    for (kind, stream, payload) in
        [(PRIORITY, 1, &[0, 0, 0, 0, 16][..]), (WINDOW_UPDATE, 0, &[0, 0, 0, 1]), (0x42, 0, &[])]
    {
        check(LIMIT, std::iter::repeat_n(frame(kind, 0, stream, payload), 20_000)).await;
    }
}

#[tokio::test]
async fn data_with_nothing_in_it() {
    check("http2-empty-data", empty_data(20_000)).await;
    check_one_by_one("http2-empty-data", empty_data(110)).await;
    // Such as have nothing but padding are for the HTTP library to see.
    let padded = std::iter::repeat_n(frame(DATA, PADDED, 1, &[1, 0]), 110);
    check_one_by_one("http2-empty-data", empty_data(0).chain(padded)).await;
}

#[tokio::test]
async fn continuations_without_end() {
    check("http2-header-frames", continuations(1000)).await;
    // One by one, the HTTP library sees that the last one there may be is not the last.
    for count in [6, 1000] {
        check_one_by_one("http2-header-frames", continuations(count)).await;
    }
}

#[tokio::test]
async fn a_header_block_of_as_many_frames_as_there_may_be_is_answered() {
    let backend = Backend::says("hello").await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
    let mut block = frame(HEADERS, END_STREAM, 1, GET);
    block.extend(continuation(0).repeat(5));
    block.extend(continuation(END_HEADERS));
    client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &block].concat()).await.expect("sent");
    let answer = loop {
        let frame = read_frame(&mut client).await.expect("a frame");
        if frame.kind == DATA {
            break frame;
        }
    };
    assert_eq!(answer.payload, b"hello");
}

#[tokio::test]
async fn a_header_block_that_is_too_long() {
    let begin = frame(HEADERS, END_STREAM, 1, GET);
    let more = frame(CONTINUATION, 0, 1, &[0; 16_384]);
    check("http2-header-bytes", std::iter::once(begin).chain(std::iter::repeat_n(more, 5))).await;
}

#[tokio::test]
async fn streams_that_are_taken_back_at_once() {
    check("http2-pending-resets", taken_back(streams().take(1000))).await;
}

#[tokio::test]
async fn streams_that_are_taken_back_many_times() {
    let begin = frame(HEADERS, END_HEADERS | END_STREAM, 1, GET);
    let resets = std::iter::repeat_n(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), 1000);
    check("http2-resets", std::iter::once(begin).chain(resets)).await;
}

#[tokio::test]
async fn streams_that_the_client_makes_us_reset() {
    check("http2-local-resets", made_to_reset(streams().take(1000))).await;
    // What the client took back before is no reason to name another limit.
    let (taken_back, made) = (taken_back(streams().take(40)), made_to_reset(streams().skip(40).take(200)));
    check_one_by_one("http2-local-resets", taken_back.chain(made)).await;
}

#[tokio::test]
async fn headers_that_grow_when_they_are_decoded() {
    // What follows the answer is a GOAWAY, which this client does not react to.
    for times in [20, 1000] {
        check_with(300, "http2-header-list-bytes", Come::Together, table_bomb(times)).await;
    }
}

#[tokio::test]
async fn headers_that_are_many_are_answered() {
    let backend = Backend::says("hello").await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
    let block = [GET, &b"\x00\x01x\x01y".repeat(2500)].concat();
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
    client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &request].concat()).await.expect("sent");
    let answer = loop {
        let frame = read_frame(&mut client).await.expect("a frame");
        if frame.stream == 1 {
            break frame;
        }
    };
    // `:status: 431`, not in a table.
    assert_eq!((answer.kind, &answer.payload[..]), (HEADERS, &[0x48, 0x83, 0x69, 0x90, 0xff][..]));
    assert_eq!(backend.requests(), 0);
}

/// How a client opens its window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Opens {
    Never,
    ByAByte,
    Slowly,
}

async fn open(opens: Opens, mut writing: OwnedWriteHalf) {
    let (step, pause) = match opens {
        Opens::Never => return std::future::pending().await,
        Opens::ByAByte => (1, Duration::from_millis(20)),
        Opens::Slowly => (64 * 1024, Duration::from_millis(100)),
    };
    let update = frame(WINDOW_UPDATE, 0, 1, &u32::to_be_bytes(step));
    while writing.write_all(&update).await.is_ok() {
        tokio::time::sleep(pause).await;
    }
}

#[tokio::test]
async fn windows_that_stay_shut() {
    const LENGTH: usize = 1 << 20;
    let backend = Backend::start(|_| async { Response::new(text(vec![b'x'; LENGTH])) }).await;
    let fixture = Fixture::start_as(
        |config| {
            let limit = "http2-stream-stall=1".parse().expect("a setting");
            config.limits = config.limits.with(limit);
            config.timeouts = Timeouts { download: Duration::from_millis(300), ..Timeouts::default() };
        },
        Table::all_to(&[backend.address]),
    );
    let stalls = || fixture.metric("lb_l7_limits_reached_total{limit=\"http2-stream-stall\"}");
    for (opens, count) in [(Opens::Never, 1), (Opens::ByAByte, 2), (Opens::Slowly, 2)] {
        let (mut reading, mut writing) =
            TcpStream::connect(fixture.http()).await.expect("connect").into_split();
        let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        let connection = frame(WINDOW_UPDATE, 0, 0, &0x7f00_0000_u32.to_be_bytes());
        let get = frame(HEADERS, END_HEADERS | END_STREAM, 1, GET);
        writing.write_all(&[PREFACE, &no_window, &connection, &get].concat()).await.expect("sent");
        let opening = tokio::spawn(open(opens, writing));
        let mut came = 0;
        let is_reset = loop {
            let frame = read_frame(&mut reading).await.expect("a frame");
            match frame.kind {
                DATA => came += frame.payload.len(),
                RST_STREAM => break true,
                _ => {}
            }
            if came == LENGTH {
                break false;
            }
        };
        assert_eq!(is_reset, opens != Opens::Slowly, "{opens:?}: {came} bytes");
        eventually("it is counted", || stalls() == count).await;
        opening.abort();
    }
}
