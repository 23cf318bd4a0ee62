//! What has not ended at a drain's deadline is cut, but not without a word where the protocol has one.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

use super::{LONG, ended, frames, within};
use crate::support::{
    Backend, Fixture, Http, Table, all_schemes, body_of, connect_tls, eventually, request, text,
};

#[tokio::test]
async fn what_outlives_the_deadline_is_cut_and_counted() {
    let (backend, _release) = Backend::slow().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut one = Http::one(fixture.http()).await;
    let mut two = Http::two(fixture.http()).await;
    let requests = [request("a", "/slow"), Request::get("http://a/slow").body(text_body()).expect("request")];
    let [first, second] = requests;
    let waiting = [
        tokio::spawn(async move { one.begin(first).await.is_err() }),
        tokio::spawn(async move { two.begin(second).await.is_err() }),
    ];
    eventually("the backend has the requests", || backend.requests() == 2).await;
    fixture.proxy.drain(within(Duration::from_millis(300)));
    for waiting in waiting {
        assert!(waiting.await.expect("no panic"), "its response is cut");
    }
    eventually("none is left", || fixture.proxy.left().total() == 0).await;
    assert_eq!((ended(&fixture, "http1", "deadline"), ended(&fixture, "http2", "deadline")), (1, 1));
    assert_eq!(fixture.metric("lb_l7_cut_responses_total"), 2);
}

/// Where connections come all the time, some are always open at the deadline.
#[tokio::test]
async fn who_came_just_before_the_deadline_is_answered() {
    let (backend, release) = Backend::slow().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let deadline = within(Duration::from_millis(200));
    fixture.proxy.drain(deadline);
    let mut client = Http::one(fixture.http()).await;
    let asked =
        tokio::spawn(async move { client.begin(request("a", "/slow")).await.map(|answer| answer.status()) });
    eventually("the backend has the request", || backend.requests() == 1).await;
    tokio::time::sleep_until((deadline + Duration::from_millis(100)).into()).await;
    release.notify_waiters();
    assert_eq!(asked.await.expect("no panic").expect("an answer"), 200);
    assert_eq!(fixture.metric("lb_l7_cut_responses_total"), 0);
}

/// HTTP/1.0 has no chunks: such a response ends with its connection.
#[tokio::test]
async fn a_response_without_a_length_does_not_seem_complete() {
    let backend = Backend::start(|_| async {
        let (send, receive) = mpsc::channel::<Bytes>(1);
        tokio::spawn(async move {
            drop(send.send("some".into()).await);
            std::future::pending::<()>().await;
        });
        Response::new(body_of(StreamBody::new(frames(receive))))
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
    client.write_all(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"some") {
        assert_ne!(client.read_buf(&mut answer).await.expect("an answer"), 0, "it goes on");
    }
    fixture.proxy.drain(within(Duration::from_millis(300)));
    let end = client.read_buf(&mut answer).await.map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset), "{}", String::from_utf8_lossy(&answer));
    eventually("none is left", || fixture.proxy.left().total() == 0).await;
    assert_eq!(fixture.metric("lb_l7_cut_responses_total"), 1);
}

fn text_body() -> http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible> {
    http_body_util::Empty::new().boxed_unsync()
}

/// Echoes one message of a WebSocket, and tells what follows it.
async fn websocket() -> (Backend, mpsc::Receiver<Vec<u8>>) {
    let (tell, told) = mpsc::channel::<Vec<u8>>(1);
    let backend = Backend::start(move |mut request| {
        let tell = tell.clone();
        async move {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.expect("the proxy upgrades"));
                let mut read = [0; 9];
                // As a server frame: 2 + 4 + 3 bytes come, 2 + 3 go.
                stream.read_exact(&mut read).await.expect("a message");
                stream.write_all(&[0x82, 3, b'a', b'b', b'c']).await.expect("sent");
                let mut rest = Vec::new();
                drop(stream.read_to_end(&mut rest).await);
                drop(tell.send(rest).await);
            });
            let response = Response::builder().status(101).header("connection", "upgrade");
            response.header("upgrade", "websocket").body(text("")).expect("a response")
        }
    })
    .await;
    (backend, told)
}

/// A client of it over this stream, whether it answers the Close or not.
async fn is_told_1001(
    fixture: &Fixture,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    mut backend_told: mpsc::Receiver<Vec<u8>>,
    answers: bool,
) {
    let mut upgrade = request("a", "/");
    for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket")] {
        upgrade.headers_mut().insert(name, value.parse().expect("a value"));
    }
    let mut response = Http::one_over(stream).await.begin(upgrade).await.expect("a response");
    let mut tunnel = TokioIo::new(hyper::upgrade::on(&mut response).await.expect("upgraded"));
    fixture.proxy.drain(within(Duration::from_millis(600)));
    tunnel.write_all(&[0x82, 0x83, 0, 0, 0, 0, b'a', b'b', b'c']).await.expect("sent");
    let mut read = [0; 9];
    tunnel.read_exact(&mut read).await.expect("the echo, then the Close");
    assert_eq!(read, [0x82, 3, b'a', b'b', b'c', 0x88, 2, 0x03, 0xe9]);
    if answers {
        tunnel.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]).await.expect("the answer");
    }
    // Over TLS, it would be an error without a close_notify.
    assert_eq!(tunnel.read(&mut read).await.expect("no reset"), 0, "then it is closed");
    let told = backend_told.recv().await.expect("the backend's side ends too");
    assert_eq!((told.len(), told[0], told[1]), (8, 0x88, 0x82));
    assert_eq!([told[6] ^ told[2], told[7] ^ told[3]], [0x03, 0xe9]);
    eventually("it has ended", || fixture.proxy.left().total() == 0).await;
    assert_eq!(ended(fixture, "websocket", "deadline"), 1);
}

#[tokio::test]
async fn a_websocket_is_told_1001() {
    let (backend, told) = websocket().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let stream = TcpStream::connect(fixture.http()).await.expect("connect");
    is_told_1001(&fixture, stream, told, true).await;
}

#[tokio::test]
async fn a_websocket_over_tls_is_told_1001_and_its_end() {
    for answers in [true, false] {
        let (backend, told) = websocket().await;
        let fixture = Fixture::start(Table::all_to(&[backend.address]));
        let stream = connect_tls(fixture.https(), "a", &[], all_schemes()).await;
        is_told_1001(&fixture, stream, told, answers).await;
    }
}

/// A frame of HTTP/2 (RFC 9113 section 4.1): its type, its stream, and what it carries.
type Frame = (u8, u32, Vec<u8>);

const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const IS_ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length, &[kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// A client's beginning: a GET that is complete, and a POST of which more is to come.
fn two_requests() -> Vec<u8> {
    // `:scheme: https`, and without an entry of the table `:path: /slow` and `:authority: a` (RFC 7541).
    let common = [&[0x87, 0x04, 5][..], b"/slow", &[0x01, 1], b"a"].concat();
    let get = [&[0x82][..], &common].concat();
    let post = [&[0x83][..], &common].concat();
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(1, END_HEADERS | END_STREAM, 1, &get),
        frame(1, END_HEADERS, 3, &post),
        frame(0, 0, 3, b"some"),
    ]
    .concat()
}

/// Takes frames up to the end of a connection, which must be in order.
async fn frames_to_the_end(mut stream: TlsStream<TcpStream>, answers_pings: bool) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut head = [0; 9];
    // Without a close_notify, the end would be an error.
    while stream.read(&mut head[..1]).await.expect("close_notify") > 0 {
        stream.read_exact(&mut head[1..]).await.expect("whole frames");
        let [a, b, c, kind, flags, on @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await.expect("whole frames");
        let is_answered = kind == SETTINGS || (kind == PING && answers_pings);
        if is_answered && flags & IS_ACK == 0 {
            let answer = if kind == PING { &payload[..] } else { &[] };
            stream.write_all(&frame(kind, IS_ACK, 0, answer)).await.expect("sent");
        }
        frames.push((kind, u32::from_be_bytes(on), payload));
    }
    frames
}

/// Two streams are under way, and cancelled; the connection ends in order.
async fn are_cancelled(
    backend: &Backend,
    stream: TlsStream<TcpStream>,
    answers_pings: bool,
    end: impl FnOnce(),
) {
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let mut stream = stream;
    stream.write_all(&two_requests()).await.expect("sent");
    eventually("the backend has both requests", || backend.requests() == 2).await;
    end();
    let frames = tokio::time::timeout(LONG, frames_to_the_end(stream, answers_pings)).await.expect("it ends");
    let of = |kind| frames.iter().filter(move |frame| frame.0 == kind);
    let mut reset: Vec<_> = of(RST_STREAM).map(|(_, stream, reason)| (*stream, &reason[..])).collect();
    reset.sort_unstable();
    assert_eq!(reset, [(1, &CANCEL[..]), (3, &CANCEL)], "{frames:?}");
    // Who does not answer the ping is not told which stream is the last.
    let last: u32 = if answers_pings { 3 } else { (1 << 31) - 1 };
    let (_, _, goaway) = of(GOAWAY).next_back().expect("GOAWAY");
    assert_eq!(goaway, &[last.to_be_bytes(), [0; 4]].concat(), "the last stream, and no error");
}

#[tokio::test]
async fn http2_streams_are_cancelled_and_their_connection_ends_in_order() {
    for answers_pings in [true, false] {
        let (backend, _release) = Backend::slow().await;
        let fixture = Fixture::start(Table::all_to(&[backend.address]));
        let stream = connect_tls(fixture.https(), "a", &["h2"], all_schemes()).await;
        let drain = || fixture.proxy.drain(within(Duration::from_millis(300)));
        are_cancelled(&backend, stream, answers_pings, drain).await;
        eventually("none is left", || fixture.proxy.left().total() == 0).await;
        assert_eq!(ended(&fixture, "http2", "deadline"), 1);
        assert_eq!(fixture.metric("lb_l7_cut_responses_total"), 2);
    }
}

/// As after a hand-over: nobody comes any more, and what is left has its grace.
#[tokio::test]
async fn an_agent_that_stops_tells_them_as_well() {
    let (backend, _release) = Backend::slow().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let stream = connect_tls(fixture.https(), "a", &["h2"], all_schemes()).await;
    let stop = || drop(tokio::task::spawn_blocking(|| fixture.proxy.shutdown(Duration::from_millis(300))));
    are_cancelled(&backend, stream, true, stop).await;
}
