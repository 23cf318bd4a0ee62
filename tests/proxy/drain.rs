//! Drain: every protocol ends in its own way, and no request is lost on the way.

mod deadline;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};

use super::support::{
    Backend, Fixture, Http, Table, all_schemes, body_of, connect_tls, eventually, quick, request, text,
};
use lb_agent::l7::Timeouts;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

fn within(time: Duration) -> Instant {
    Instant::now() + time
}

fn ended(fixture: &Fixture, kind: &str, end: &str) -> u64 {
    fixture.metric(&format!("lb_l7_drained_connections_total{{kind=\"{kind}\",end=\"{end}\"}}"))
}

#[tokio::test]
async fn a_response_under_way_says_close() {
    let (backend, release) = Backend::slow().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = Http::one(fixture.http()).await;
    assert_eq!(client.send(request("a", "/")).await.header("connection"), "");
    let slow = tokio::spawn(async move {
        let answer = client.send(request("a", "/slow")).await;
        (answer, client)
    });
    eventually("the backend has the request", || backend.requests() == 2).await;
    fixture.proxy.drain(within(LONG));
    eventually("the drain begins", || fixture.proxy.left().oldest.is_some()).await;
    assert!(fixture.proxy.left().to_string().starts_with("1 connection left, the oldest 0 s"));
    release.notify_one();
    let (answer, mut client) = slow.await.expect("no panic");
    assert_eq!((answer.text(), answer.header("connection")), ("done", "close"));
    assert!(client.begin(request("a", "/")).await.is_err(), "it is closed");
    drop(client);
    eventually("it has ended", || fixture.proxy.left().total() == 0).await;
    assert_eq!(ended(&fixture, "http1", "in_order"), 1);
}

#[tokio::test]
async fn an_idle_connection_has_one_more_request() {
    let (backend, _) = Backend::slow().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut clients = [Http::one(fixture.http()).await, Http::one(fixture.http()).await];
    clients[0].send(request("a", "/")).await;
    fixture.proxy.drain(within(LONG));
    eventually("the drain begins", || fixture.proxy.left().oldest.is_some()).await;
    for client in &mut clients {
        let answer = client.send(request("a", "/")).await;
        assert_eq!((answer.text(), answer.header("connection")), ("done", "close"));
    }
    let late = Http::get(fixture.http(), "a", "/").await;
    assert_eq!((late.text(), late.header("connection")), ("done", "close"), "it goes on accepting");
}

/// The response's head has gone out without a word of the drain.
#[tokio::test]
async fn a_response_that_did_not_say_close_leaves_its_connection_open() {
    let release = Arc::new(Notify::new());
    let released = release.clone();
    let backend = Backend::start(move |request| {
        let released = released.clone();
        async move {
            if request.uri().path() != "/slow" {
                return Response::new(text("done"));
            }
            let (send, receive) = mpsc::channel::<Bytes>(1);
            tokio::spawn(async move {
                released.notified().await;
                drop(send.send("late".into()).await);
            });
            Response::new(body_of(StreamBody::new(frames(receive))))
        }
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = Http::one(fixture.http()).await;
    let response = client.begin(request("a", "/slow")).await.expect("a head");
    fixture.proxy.drain(within(LONG));
    eventually("the drain begins", || fixture.proxy.left().oldest.is_some()).await;
    release.notify_one();
    assert_eq!(response.into_body().collect().await.expect("a whole body").to_bytes(), "late");
    assert_eq!(client.send(request("a", "/")).await.header("connection"), "close");
}

fn frames(
    mut receive: mpsc::Receiver<Bytes>,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    futures_util::stream::poll_fn(move |cx| receive.poll_recv(cx).map(|bytes| Some(Ok(Frame::data(bytes?)))))
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_keep_asking_lose_no_request() {
    const CLIENTS: usize = 50;
    let (backend, _) = Backend::slow().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let (stop, closed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(ask_every_20_ms(fixture.http(), stop.clone(), closed.clone())))
        .collect();
    eventually("all have asked", || backend.requests() > 3 * CLIENTS).await;
    assert_eq!(closed.load(Ordering::SeqCst), 0);
    fixture.proxy.drain(within(LONG));
    eventually("all were told", || closed.load(Ordering::SeqCst) > 3 * CLIENTS).await;
    fixture.proxy.serve();
    let (asked, told) = (backend.requests(), closed.load(Ordering::SeqCst));
    eventually("all have asked again", || backend.requests() > asked + 5 * CLIENTS).await;
    assert!(closed.load(Ordering::SeqCst) - told <= CLIENTS, "the drain is called off");
    stop.store(1, Ordering::SeqCst);
    for client in clients {
        client.await.expect("no request failed");
    }
}

async fn ask_every_20_ms(address: std::net::SocketAddr, stop: Arc<AtomicUsize>, closed: Arc<AtomicUsize>) {
    let mut client = Http::one(address).await;
    let mut every = tokio::time::interval(Duration::from_millis(20));
    while stop.load(Ordering::SeqCst) == 0 {
        every.tick().await;
        let answer = client.send(request("a", "/")).await;
        assert_eq!(answer.text(), "done");
        if answer.header("connection") == "close" {
            closed.fetch_add(1, Ordering::SeqCst);
            client = Http::one(address).await;
        }
    }
}

#[tokio::test]
async fn http2_streams_finish_after_goaway() {
    let (backend, release) = Backend::slow().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let stream = connect_tls(fixture.https(), "a", &["h2"], all_schemes()).await;
    let Http::Two(sender) = Http::two_over(stream).await else { panic!("HTTP/2 was asked for") };
    let get = |path: &str| {
        let (head, body) = request("a", "/").into_parts();
        let mut request = Request::from_parts(head, body);
        *request.uri_mut() = format!("https://a{path}").parse().expect("a URL");
        request
    };
    let open: Vec<_> = (0..5)
        .map(|_| {
            let mut client = Http::Two(sender.clone());
            let request = get("/slow");
            tokio::spawn(async move { client.send(request).await })
        })
        .collect();
    eventually("the backend has the requests", || backend.requests() == 5).await;
    fixture.proxy.drain(within(LONG));
    let mut client = Http::Two(sender.clone());
    let told = async { while client.begin(get("/")).await.is_ok() {} };
    tokio::time::timeout(LONG, told).await.expect("GOAWAY: no new stream opens");
    eventually("all have their answers", || {
        release.notify_waiters();
        open.iter().all(tokio::task::JoinHandle::is_finished)
    })
    .await;
    for stream in open {
        let answer = stream.await.expect("no panic");
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "done"));
    }
    eventually("the connection has ended", || fixture.proxy.left().total() == 0).await;
    assert_eq!(ended(&fixture, "http2", "in_order"), 1);
}

#[tokio::test]
async fn a_slow_upload_finishes() {
    let (backend, _) = Backend::slow().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let (send, receive) = mpsc::channel::<Bytes>(1);
    let body = StreamBody::new(frames(receive)).boxed_unsync();
    let upload = Request::post("/upload").header("host", "a").body(body).expect("a request");
    let mut client = Http::one(fixture.http()).await;
    let uploading = tokio::spawn(async move { client.send(upload).await });
    send.send("first".into()).await.expect("the proxy takes it");
    eventually("the backend has the request", || backend.requests() == 1).await;
    fixture.proxy.drain(within(LONG));
    eventually("the drain begins", || fixture.proxy.left().oldest.is_some()).await;
    for _ in 0..100 {
        send.send(vec![b'u'; 10_000].into()).await.expect("the proxy goes on");
    }
    drop(send);
    let answer = uploading.await.expect("no panic");
    assert_eq!((answer.text(), answer.header("connection")), ("done", "close"));
}

#[tokio::test]
async fn idle_ones_are_closed_in_order_in_the_end() {
    let (backend, _) = Backend::slow().await;
    let timeouts = Timeouts { idle: LONG, ..quick() };
    let fixture = Fixture::start_with(timeouts, Table::all_to(&[backend.address]));
    let mut idle = connect_tls(fixture.https(), "a", &[], all_schemes()).await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"done") {
        assert_ne!(idle.read_buf(&mut answer).await.expect("an answer"), 0, "it stays open");
    }
    let two = Http::two(fixture.http()).await;
    fixture.proxy.drain(within(Duration::from_secs(4)));
    // Without a close_notify, this would be an error.
    assert_eq!(idle.read_buf(&mut answer).await.expect("close_notify"), 0);
    drop(idle);
    eventually("none is left", || fixture.proxy.left().total() == 0).await;
    assert_eq!(ended(&fixture, "http1", "in_order"), 1);
    drop(two);
}
