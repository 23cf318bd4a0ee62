//! Bodies stream both ways at the reader's pace, and in bounded memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{Method, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{
    Backend, Fixture, Http, RawBackend, Table, body_of, eventually, raw_exchange, request, text,
};

const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 1024;

/// 64 MiB that count how much of them has been taken.
fn large_body(
    taken: &Arc<AtomicUsize>,
) -> impl hyper::body::Body<Data = Bytes, Error = std::convert::Infallible> + use<> {
    let taken = taken.clone();
    let chunk = Bytes::from(vec![b'x'; CHUNK]);
    StreamBody::new(stream::iter((0..CHUNKS).map(move |_| {
        taken.fetch_add(CHUNK, Ordering::SeqCst);
        Ok(Frame::data(chunk.clone()))
    })))
}

/// Stops growing well before the whole: kernel buffers of two connections and the proxy's own.
async fn settles_below_the_whole(taken: &AtomicUsize) {
    let mut last = usize::MAX;
    loop {
        let now = taken.load(Ordering::SeqCst);
        if now == last && now > 0 {
            break;
        }
        last = now;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(last < CHUNK * CHUNKS / 2, "{last} bytes were taken from the writer with nobody reading");
}

#[tokio::test]
async fn a_slow_reader_slows_the_backend() {
    let taken = Arc::<AtomicUsize>::default();
    let counter = taken.clone();
    let backend = Backend::start(move |_| {
        let body = body_of(large_body(&counter));
        async { Response::new(body) }
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = Http::one(fixture.http()).await;
    let mut body = client.begin(request("a", "/")).await.expect("a head").into_body();
    settles_below_the_whole(&taken).await;
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        read += frame.expect("a frame").into_data().expect("data").len();
    }
    assert_eq!(read, CHUNK * CHUNKS);
}

#[tokio::test]
async fn a_slow_backend_slows_the_upload() {
    let release = Arc::new(tokio::sync::Notify::new());
    let released = release.clone();
    let backend = Backend::start(move |request| {
        let released = released.clone();
        async move {
            released.notified().await;
            let read = request.into_body().collect().await.expect("a whole body").to_bytes();
            Response::new(text(read.len().to_string()))
        }
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let taken = Arc::<AtomicUsize>::default();
    let mut upload = request("a", "/");
    *upload.method_mut() = Method::POST;
    *upload.body_mut() = large_body(&taken).boxed_unsync();
    let mut client = Http::one(fixture.http()).await;
    let sending = tokio::spawn(async move { client.send(upload).await });
    settles_below_the_whole(&taken).await;
    release.notify_one();
    let answer = sending.await.expect("no panic");
    assert_eq!(answer.text(), (CHUNK * CHUNKS).to_string());
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_backends_work() {
    let taken = Arc::<AtomicUsize>::default();
    let dropped = Arc::new(());
    let (counter, held) = (taken.clone(), dropped.clone());
    let backend = Backend::start(move |_| {
        let held = held.clone();
        let endless = stream::repeat_with(move || {
            let _ = &held;
            Ok(Frame::data(Bytes::from_static(&[b'x'; 1024])))
        });
        counter.fetch_add(1, Ordering::SeqCst);
        async { Response::new(body_of(StreamBody::new(endless))) }
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = Http::one(fixture.http()).await;
    let response = client.begin(request("a", "/")).await.expect("a head");
    assert_eq!(taken.load(Ordering::SeqCst), 1);
    let before = Arc::strong_count(&dropped);
    drop((response, client));
    eventually("the backend's body is dropped", || Arc::strong_count(&dropped) < before).await;
}

#[tokio::test]
async fn an_early_response_to_an_upload_arrives() {
    // Answers at once and reads no further, as a server does that refuses an upload.
    let backend = RawBackend::start(|_, mut stream| async move {
        drop(stream.read_u8().await);
        drop(stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 7\r\n\r\ntoo big").await);
        std::future::pending().await
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for _ in 0..5 {
        let mut stream = TcpStream::connect(fixture.http()).await.expect("connect");
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n";
        stream.write_all(head).await.expect("send");
        for _ in 0..64 {
            stream.write_all(&[b'x'; CHUNK]).await.expect("the proxy takes what is under way");
        }
        // Only now does it look for an answer, as simple clients do.
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer, and no reset");
        assert!(answer.starts_with("HTTP/1.1 413") && answer.ends_with("too big"), "{answer:?}");
    }
}

/// Byte `at` of a body: no two places that a mistake would confuse have the same.
pub(crate) fn byte(at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 13) as u8
}

pub(crate) const LONG: usize = 9 * 1024 * 1024 + 77;

pub(crate) const SPLICED: &str = "lb_l7_upstream_spliced_bytes_total";

/// Reads a response to its end, with a pause after each part; its body. What came of the next one stays.
async fn read_long(client: &mut TcpStream, came: &mut BytesMut, pause: Duration) -> BytesMut {
    loop {
        let head = came.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head.filter(|head| came.len() >= head + 4 + LONG) {
            return came.split_to(head + 4 + LONG).split_off(head + 4);
        }
        came.reserve(64 * 1024);
        let read = tokio::time::timeout(Duration::from_secs(20), client.read_buf(came)).await;
        let read = read.unwrap_or_else(|_| panic!("no more than {} of {LONG} bytes come", came.len()));
        assert!(read.expect("more") > 0, "{} bytes came", came.len());
        tokio::time::sleep(pause).await;
    }
}

#[tokio::test]
async fn long_bodies_go_from_socket_to_socket_whole_and_in_order() {
    let body: Bytes = (0..LONG).map(byte).collect::<Vec<_>>().into();
    let sent = body.clone();
    let backend = Backend::start(move |_| {
        let body = http_body_util::Full::new(sent.clone());
        async { Response::new(body_of(body)) }
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
    // The next request is there before the response to the one before has been read.
    let get = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    client.write_all(&get.repeat(2)).await.expect("sent");
    let mut came = BytesMut::new();
    for pause in [Duration::ZERO, Duration::from_micros(200)] {
        assert!(read_long(&mut client, &mut came, pause).await == body, "what came is what was sent");
    }
    let spliced = fixture.metric(SPLICED);
    assert!(spliced > LONG as u64, "{spliced} bytes of two bodies of {LONG}");
    // Over TLS and HTTP/2 they are copied.
    let whole = Http::two(fixture.http()).await.send(request("a", "http://a/")).await;
    assert!(whole.body == body, "the same over HTTP/2");
    assert_eq!(fixture.metric(SPLICED), spliced);
    assert_eq!(backend.connections(), 1, "the connection is kept after a long body");
}

#[tokio::test]
async fn a_long_body_that_breaks_off_is_not_whole() {
    let backend = RawBackend::start(|_, mut stream| async move {
        super::support::read_head(&mut stream).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LONG}\r\n\r\n");
        drop(stream.write_all(head.as_bytes()).await);
        drop(stream.write_all(&vec![b'x'; LONG / 2]).await);
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    let mut came = Vec::new();
    drop(client.read_to_end(&mut came).await);
    assert!(came.len() < LONG && fixture.metric(SPLICED) > 0, "{} bytes", came.len());
    assert_eq!(fixture.metric("lb_l7_upstream_breaches_total{reason=\"cut_body\"}"), 1);
    eventually("the connection is closed", || fixture.proxy.left().total() == 0).await;
}

/// What is written last waits for the end of its connection, and must not wait for anything else.
#[tokio::test]
async fn the_last_response_of_a_connection_comes_whole() {
    for length in [0, 5, 3_000, 300_000] {
        let backend = Backend::start(move |_| async move { Response::new(text(vec![b'x'; length])) }).await;
        let fixture = Fixture::start(Table::all_to(&[backend.address]));
        for request in
            ["GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "GET / HTTP/1.0\r\nhost: a\r\n\r\n"]
        {
            let answer = raw_exchange(fixture.http(), request.as_bytes()).await;
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
            assert!(head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.0 200 "), "{head}");
            assert!(
                body.len() == length && body.bytes().all(|byte| byte == b'x'),
                "{length}: {}",
                body.len()
            );
        }
        eventually("its connections are closed", || fixture.proxy.left().total() == 0).await;
    }
}
