//! Bodies over HTTP/2 in frames with little in each, and readers that wait: what comes for them is kept, within their windows,
//! and costs nobody else the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::support::{Fixture, RawBackend, Table, eventually, protocol};

/// In each frame: its number.
const WIDTH: usize = 20;
/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Less than any window has room for.
const FRAMES: usize = 3_000;

fn part(number: usize) -> Bytes {
    format!("{number:WIDTH$}").into()
}

fn whole() -> Vec<u8> {
    (0..FRAMES).flat_map(part).collect()
}

/// A client with such windows for its streams.
async fn client(fixture: &Fixture, window: u32) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(fixture.http()).await.expect("connect");
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window).initial_connection_window_size(1 << 24);
    let (client, connection) = builder.handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    client
}

async fn collect(mut body: h2::RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.expect("it goes on");
        body.flow_control().release_capacity(part.len()).expect("it came");
        all.extend_from_slice(&part);
    }
    all
}

fn request(path: &str) -> Request<()> {
    Request::post(format!("http://a{path}")).body(()).expect("a request")
}

#[tokio::test]
async fn of_responses() {
    let sent = Arc::<AtomicUsize>::default();
    let connections = Arc::<AtomicUsize>::default();
    let (frames, opened) = (sent.clone(), connections.clone());
    let backend = RawBackend::start(move |_, stream| {
        let (sent, opened) = (frames.clone(), opened.clone());
        async move {
            opened.fetch_add(1, Ordering::SeqCst);
            let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let sent = sent.clone();
                tokio::spawn(async move {
                    let mut body = respond.send_response(Response::new(()), false).expect("a head");
                    for number in 0..FRAMES {
                        body.send_data(part(number), number + 1 == FRAMES).expect("sent");
                        sent.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                    }
                });
            }
        }
    })
    .await;
    let fixture = Fixture::start(Table::all_spoken(&[backend.address], protocol(true, None)));
    let mut slow = client(&fixture, 4_000).await;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let (response, _) = slow.send_request(request("/"), true).expect("sent");
        waiting.push(response.await.expect("a head").into_body());
    }
    eventually("all is on its way", || sent.load(Ordering::SeqCst) == 8 * FRAMES).await;
    let (response, _) = client(&fixture, 1 << 20).await.send_request(request("/"), true).expect("sent");
    assert!(
        collect(response.await.expect("a head").into_body()).await == whole(),
        "another client's response"
    );
    for body in waiting {
        assert!(collect(body).await == whole(), "that of one that waited");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1, "all over one connection");
}

#[tokio::test]
async fn of_requests() {
    let go = Arc::new(Semaphore::new(0));
    let is_let = go.clone();
    let backend = RawBackend::start(move |_, stream| {
        let go = is_let.clone();
        async move {
            let mut builder = h2::server::Builder::new();
            builder.initial_window_size(100);
            let mut connection = builder.handshake::<_, Bytes>(stream).await.expect("HTTP/2");
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let go = go.clone();
                tokio::spawn(async move {
                    let _go = go.acquire().await.expect("open");
                    let all = collect(request.into_body()).await;
                    let mut body = respond.send_response(Response::new(()), false).expect("a head");
                    body.send_data(if all == whole() { "whole" } else { "broken" }.into(), true)
                        .expect("sent");
                });
            }
        }
    })
    .await;
    let fixture = Fixture::start(Table::all_spoken(&[backend.address], protocol(true, None)));
    let mut client = client(&fixture, 1 << 20).await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        let (response, mut body) = client.send_request(request("/"), false).expect("sent");
        for number in 0..FRAMES {
            body.send_data(part(number), number + 1 == FRAMES).expect("sent");
            tokio::task::yield_now().await;
        }
        answers.push(response);
    }
    go.add_permits(answers.len());
    for answer in answers {
        assert_eq!(collect(answer.await.expect("a head").into_body()).await, b"whole");
    }
}

/// What an endpoint has taken of requests whose responses go on is no part of what the client may have on its way.
#[tokio::test]
async fn of_what_was_taken_nothing_takes_room() {
    let backend = RawBackend::start(move |_, stream| async move {
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        let mut open = Vec::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let (told, heard) = tokio::sync::oneshot::channel();
            tokio::spawn(async move {
                collect(request.into_body()).await;
                told.send(respond.send_response(Response::new(()), false).expect("a head")).expect("kept");
            });
            open.push(heard);
        }
    })
    .await;
    let fixture = Fixture::start(Table::all_spoken(&[backend.address], protocol(true, None)));
    let mut client = client(&fixture, 1 << 20).await;
    let mut responses = Vec::new();
    // More than twice what may be on its way over one connection.
    for _ in 0..90 {
        let (response, mut body) = client.send_request(request("/"), false).expect("sent");
        for is_last in [false, true] {
            body.send_data(vec![b'x'; 16 * 1024].into(), is_last).expect("sent");
        }
        let response = timeout(PATIENCE, response).await.expect("there is room for it");
        responses.push(response.expect("a head"));
    }
}
