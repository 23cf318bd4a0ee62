//! Bodies stream both ways at the reader's pace, and in bounded memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Backend, Fixture, Http, RawBackend, Table, body_of, eventually, request, text};

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
