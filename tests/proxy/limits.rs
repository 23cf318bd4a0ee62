//! Limits in number and in time: each is reached, counted under its name, and leaves the others alone.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use lb_agent::l7::{Setting, Timeouts};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::support::{
    Backend, Fixture, Http, RawBackend, Table, all_schemes, body_of, connect_tls, connect_tls_over,
    eventually, raw_exchange, read_head, request, text, tls_client,
};

fn setting(text: &str) -> Setting {
    text.parse().expect("a setting")
}

fn reached(fixture: &Fixture, limit: &str) -> u64 {
    fixture.metric(&format!("lb_l7_limits_reached_total{{limit=\"{limit}\"}}"))
}

/// Whether the proxy closes a new connection without a word.
async fn is_closed(stream: &mut TcpStream) -> bool {
    _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn connections_beyond_a_limit_are_closed_and_places_come_back() {
    for limit in ["connections", "connections-per-client"] {
        let backend = Backend::says("ok").await;
        let setting = setting(&format!("{limit}=2"));
        let set = |config: &mut lb_agent::l7::Config| {
            config.limits = config.limits.with(setting);
        };
        let fixture = Fixture::start_as(set, Table::all_to(&[backend.address]));
        let mut first = Http::one(fixture.http()).await;
        let mut second = Http::one(fixture.http()).await;
        for client in [&mut first, &mut second] {
            assert_eq!(client.send(request("a", "/")).await.text(), "ok");
        }
        let mut third = TcpStream::connect(fixture.http()).await.expect("connect");
        assert!(is_closed(&mut third).await, "{limit}");
        assert_eq!(reached(&fixture, limit), 1);
        assert_eq!(first.send(request("a", "/")).await.text(), "ok");
        drop(second);
        eventually("one has ended", || fixture.proxy.left().total() == 1).await;
        assert_eq!(Http::one(fixture.http()).await.send(request("a", "/")).await.text(), "ok");
    }
}

/// A connection of another address of this machine's.
async fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, last], 0).into()).expect("an address of ours");
    socket.connect(to).await.expect("connect")
}

/// A connection that begins a handshake and stops there; whether the proxy has answered.
async fn stop_after_hello(last: u8, to: SocketAddr) -> (TcpStream, bool) {
    let config = tls_client(rustls::DEFAULT_VERSIONS, &[], all_schemes());
    let name = "a".try_into().expect("a name");
    let mut hello = Vec::new();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    client.write_tls(&mut hello).expect("a greeting");
    let mut stream = connect_from(last, to).await;
    stream.write_all(&hello).await.expect("sent");
    let is_answered = stream.read_u8().await.is_ok();
    (stream, is_answered)
}

#[tokio::test]
async fn who_says_nothing_takes_no_handshake_from_others_and_who_stops_only_his_share() {
    const STOPS: u8 = 9;
    const OTHER: u8 = 10;
    const STOPS_TOO: u8 = 11;
    const EACH: [&str; 2] = ["handshakes-per-client", "handshakes"];
    let backend = Backend::says("ok").await;
    let set = |config: &mut lb_agent::l7::Config| {
        let limits = ["handshakes=4", "handshakes-per-client=2"].map(setting);
        config.limits = limits.into_iter().fold(config.limits, lb_agent::l7::Limits::with);
    };
    let fixture = Fixture::start_as(set, Table::all_to(&[backend.address]));
    let https = fixture.https();
    let other_is_served = || async {
        let tls = connect_tls_over(connect_from(OTHER, https).await, "a", &[], all_schemes()).await;
        assert_eq!(Http::one_over(tls).await.send(request("a", "/")).await.text(), "ok");
    };
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(connect_from(STOPS, https).await);
    }
    eventually("they are taken", || fixture.proxy.left().total() == 8).await;
    other_is_served().await;
    let mut stopped = Vec::new();
    for place in 0..3 {
        let (stream, is_answered) = stop_after_hello(STOPS, https).await;
        assert_eq!(is_answered, place < 2);
        stopped.push(stream);
    }
    // It is counted once it is closed.
    eventually("it is counted", || EACH.map(|limit| reached(&fixture, limit)) == [1, 0]).await;
    other_is_served().await;
    let held = [stop_after_hello(STOPS_TOO, https).await, stop_after_hello(STOPS_TOO, https).await];
    assert!(held.iter().all(|(_, is_answered)| *is_answered));
    assert!(!stop_after_hello(OTHER, https).await.1, "as many as there may be");
    eventually("it is counted", || EACH.map(|limit| reached(&fixture, limit)) == [1, 1]).await;
    drop((silent, stopped, held));
    eventually("all have ended", || fixture.proxy.left().total() == 0).await;
    other_is_served().await;
}

#[tokio::test]
async fn a_body_that_stops_or_trickles_is_a_408() {
    let backend = Backend::start(|request| async move {
        drop(request.into_body().collect().await);
        Response::new(text("ok"))
    })
    .await;
    let fixture = Fixture::start_quick(Table::all_to(&[backend.address]));
    for (count, trickles) in [(1, false), (2, true)] {
        let stream = TcpStream::connect(fixture.http()).await.expect("connect");
        let (mut reading, mut writing) = stream.into_split();
        writing
            .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nx")
            .await
            .expect("send");
        let trickle = tokio::spawn(async move {
            while trickles && writing.write_all(b"x").await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            writing
        });
        let mut answer = String::new();
        _ = reading.read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert_eq!(reached(&fixture, "upload-rate"), count);
        assert_eq!(fixture.metric("lb_l7_replies_total{reason=\"slow_body\"}"), count);
        drop(reading);
        trickle.await.expect("no panic");
    }
}

#[tokio::test]
async fn a_head_that_trickles_and_a_connection_without_one_end_in_time() {
    let backend = Backend::says("ok").await;
    let fixture = Fixture::start_quick(Table::all_to(&[backend.address]));
    let mut sent = [0, 0];
    let tls = || connect_tls(fixture.https(), "a", &[], all_schemes());
    let clear = || async { TcpStream::connect(fixture.http()).await.expect("connect") };
    for (begins, limit) in
        [(&b""[..], "idle-time"), (b"G", "head-time"), (b"GET / HTTP/1.1\r\n", "head-time")]
    {
        let place = usize::from(limit == "head-time");
        trickle(clear().await, begins).await;
        sent[place] += 1;
        assert_eq!([reached(&fixture, "idle-time"), reached(&fixture, "head-time")], sent, "{begins:?}");
        trickle(tls().await, begins).await;
        sent[place] += 1;
        assert_eq!([reached(&fixture, "idle-time"), reached(&fixture, "head-time")], sent, "{begins:?}");
    }
    let first = [&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], b"GET / HTTP/1.1\r\n"].concat();
    trickle(clear().await, &first).await;
    assert_eq!(reached(&fixture, "head-time"), sent[1] + 1, "the second head on a connection");
}

/// Sends this, and a header's bytes one by one if it begins a request, until the proxy closes the connection.
async fn trickle(mut stream: impl AsyncRead + AsyncWrite + Unpin, begins: &[u8]) {
    _ = stream.write_all(begins).await;
    let (mut reading, mut writing) = tokio::io::split(stream);
    let trickle = async {
        while !begins.is_empty() && writing.write_all(b"x").await.is_ok() && writing.flush().await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut came = Vec::new();
    tokio::select! {
        _ = reading.read_to_end(&mut came) => {}
        () = trickle => {}
    }
}

#[tokio::test]
async fn idle_connections_make_room_for_those_that_come() {
    let backend = Backend::says("ok").await;
    let set = |config: &mut lb_agent::l7::Config| {
        config.limits = config.limits.with(setting("connections=8"));
        config.timeouts = Timeouts { idle: std::time::Duration::from_secs(30), ..Timeouts::default() };
    };
    let fixture = Fixture::start_as(set, Table::all_to(&[backend.address]));
    let mut idle = Vec::new();
    for http2 in [false, true, false, true, false, true] {
        let mut client =
            if http2 { Http::two(fixture.http()).await } else { Http::one(fixture.http()).await };
        let get = http::Request::builder().uri("http://a/").body(request("a", "/").into_body());
        client.send(if http2 { get.expect("a request") } else { request("a", "/") }).await;
        idle.push(client);
    }
    let silent = TcpStream::connect(fixture.http()).await.expect("connect");
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!((reached(&fixture, "idle-time"), fixture.proxy.left().total()), (0, 7), "there is room");
    let _last = TcpStream::connect(fixture.http()).await.expect("connect");
    eventually("idle ones are closed", || fixture.proxy.left().total() == 0).await;
    assert_eq!((reached(&fixture, "idle-time"), reached(&fixture, "connections")), (8, 0));
    assert_eq!(Http::one(fixture.http()).await.send(request("a", "/")).await.text(), "ok");
    drop((idle, silent));
}

/// A response of this many bytes.
async fn large(bytes: usize) -> Backend {
    Backend::start(move |_| async move {
        let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
        let chunks = (0..bytes / chunk.len()).map(move |_| Ok(Frame::data(chunk.clone())));
        Response::new(body_of(StreamBody::new(futures_util::stream::iter(chunks))))
    })
    .await
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_and_one_that_reads_slowly_is_not() {
    const LARGE: usize = 64 << 20;
    let backend = large(LARGE).await;
    let fixture = Fixture::start_quick(Table::all_to(&[backend.address]));
    for (tls, count) in [(false, 1), (true, 2)] {
        let mut client = match tls {
            false => Http::one(fixture.http()).await,
            true => Http::one_over(connect_tls(fixture.https(), "a", &[], all_schemes()).await).await,
        };
        let response = client.begin(request("a", "/")).await.expect("a head");
        eventually("it is cut", || reached(&fixture, "download-rate") == count).await;
        drop(response);
    }
    // HTTP/2 with windows that are larger than what sockets hold.
    let mut silent = TcpStream::connect(fixture.http()).await.expect("connect");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff";
    let window = b"\0\0\x04\x08\0\0\0\0\0\x7f\0\0\0";
    let get = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x84\x86\x41\x01a";
    silent.write_all(&[&preface[..], settings, window, get].concat()).await.expect("send");
    eventually("it is cut", || reached(&fixture, "download-rate") == 3).await;
    drop(silent);
    let mut client = Http::one(fixture.http()).await;
    let mut body = client.begin(request("a", "/")).await.expect("a head").into_body();
    let mut read = 0;
    let mut frames = 0;
    while let Some(frame) = body.frame().await {
        read += frame.expect("a frame").into_data().expect("data").len();
        frames += 1;
        if frames % 512 == 0 {
            // Longer than between two looks, but not for ever.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
    assert_eq!(read, LARGE);
}

#[tokio::test]
async fn a_slow_backend_is_not_blamed_on_the_client() {
    // Takes the head, and nothing after it.
    let backend = RawBackend::start(|_, mut stream| async move {
        drop(stream.read_u8().await);
        std::future::pending().await
    })
    .await;
    let fixture = Fixture::start_quick(Table::all_to(&[backend.address]));
    let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
    client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc").await.expect("send");
    let mut answer = String::new();
    _ = client.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert_eq!(reached(&fixture, "upload-rate"), 0);
}

#[tokio::test]
async fn limits_that_were_raised_are_what_counts() {
    // No library: it takes any head.
    let backend = RawBackend::start(|_, mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            if head.is_empty() {
                break;
            }
            let length = head.len().to_string();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{length}", length.len());
            drop(stream.write_all(answer.as_bytes()).await);
        }
    })
    .await;
    let raise = |config: &mut lb_agent::l7::Config| {
        let raised = ["headers=200", "head-bytes=262144", "target-bytes=65534"].map(setting);
        config.limits = raised.into_iter().collect();
    };
    let fixture = Fixture::start_as(raise, Table::all_to(&[backend.address]));
    let head = |target: usize, headers: usize, bytes: usize| {
        let long = if bytes > 0 { format!("y: {}\r\n", "y".repeat(bytes)) } else { String::new() };
        let (target, headers) = ("t".repeat(target - 1), "x: y\r\n".repeat(headers - 2));
        format!("GET /{target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}{long}\r\n")
    };
    for (sent, expected, limit) in [
        (head(1, 200, 0), 200, None),
        (head(1, 201, 0), 431, Some("headers")),
        (head(65_534, 10, 0), 200, None),
        (head(65_535, 10, 0), 414, Some("target-bytes")),
        (head(1, 10, 250 * 1024), 200, None),
        (format!("\r\n{}", head(1, 10, 256 * 1024 - 100)), 200, None),
        (head(1, 10, 256 * 1024), 431, Some("head-bytes")),
    ] {
        let answer = raw_exchange(fixture.http(), sent.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{limit:?}: {answer}");
        if let Some(limit) = limit {
            eventually(limit, || reached(&fixture, limit) == 1).await;
        }
    }
    assert_eq!(fixture.metric("lb_l7_malformed_requests_total{reason=\"other\"}"), 0);
}

#[tokio::test]
async fn the_second_head_on_a_connection_is_measured_by_itself() {
    let backend = Backend::says("ok").await;
    let set =
        |config: &mut lb_agent::l7::Config| config.limits = config.limits.with(setting("head-bytes=8192"));
    let fixture = Fixture::start_as(set, Table::all_to(&[backend.address]));
    let mut client = Http::one(fixture.http()).await;
    let mut first = request("a", "/");
    first.headers_mut().insert("x", "y".repeat(7900).parse().expect("a value"));
    assert_eq!(client.send(first).await.text(), "ok");
    assert_eq!(client.send(request("a", &format!("/{}", "x".repeat(400)))).await.text(), "ok");
    assert_eq!(reached(&fixture, "head-bytes"), 0);
}
