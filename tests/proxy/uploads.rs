//! Long bodies of requests go from socket to socket, whole and in order, whoever is slow and whoever breaks off.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use lb_agent::l7::Breach;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::streaming::{LONG, SPLICED, byte};
use super::support::frames::{DATA, END_HEADERS, HEADERS, PREFACE, RST_STREAM, SETTINGS, frame};
use super::support::{Backend, Fixture, RawBackend, Table, eventually, protocol, read_head, text};

const SOON: Duration = Duration::from_secs(20);

fn body() -> Vec<u8> {
    (0..LONG).map(byte).collect()
}

/// Says how much came until the body ended or broke off, and whether it was what is to come; slowly, if it is asked so.
async fn checking() -> Backend {
    Backend::start(|request| async move {
        let pause = Duration::from_micros(if request.uri().path() == "/slow" { 500 } else { 0 });
        let (mut body, mut came, mut is_right) = (request.into_body(), 0, true);
        while let Some(Ok(frame)) = body.frame().await {
            let data = frame.into_data().unwrap_or_default();
            is_right &= (came..).zip(&data).all(|(at, &found)| found == byte(at));
            came += data.len();
            sleep(pause).await;
        }
        Response::new(text(format!("{came} {is_right}")))
    })
    .await
}

fn head(path: &str, framing: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n").into_bytes()
}

/// Reads answers until so many have said that all of it came.
async fn expect_whole(client: &mut TcpStream, answers: usize) {
    let (mut came, whole) = (Vec::new(), format!("{LONG} true"));
    while String::from_utf8_lossy(&came).matches(&whole).count() < answers {
        let read = timeout(SOON, client.read_buf(&mut came)).await;
        let read = read.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&came)));
        assert!(read.expect("more") > 0, "{}", String::from_utf8_lossy(&came));
    }
}

#[tokio::test]
async fn long_uploads_go_from_socket_to_socket_whole_and_in_order() {
    let backend = checking().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let framing = format!("content-length: {LONG}");
    let body = body();
    let mut spliced = 0;
    // All at once, with the head; by and by; and to a backend that takes its time.
    for (path, part, pause) in [("/", LONG, 0), ("/", 300 * 1024, 2_000), ("/slow", 1024 * 1024, 0)] {
        let client = TcpStream::connect(fixture.http()).await.expect("connect");
        let (mut read, mut write) = (client, Vec::new());
        let (mut from, mut to) = read.split();
        // The next request follows at once, on the same connection.
        write.extend([head(path, &framing), body.clone()].concat().repeat(2));
        let sent = async {
            for part in write.chunks(part) {
                to.write_all(part).await.expect("it is taken");
                sleep(Duration::from_micros(pause)).await;
            }
        };
        let mut answers = Vec::new();
        let whole = format!("{LONG} true");
        let answered = async {
            while String::from_utf8_lossy(&answers).matches(&whole).count() < 2 {
                let more = from.read_buf(&mut answers).await.expect("more");
                assert!(more > 0, "{path}: {}", String::from_utf8_lossy(&answers));
            }
        };
        timeout(SOON, async { tokio::join!(sent, answered) }).await.expect("both are answered in time");
        let now = fixture.metric(SPLICED);
        assert!(now - spliced > LONG as u64, "{path}: {} bytes of two bodies of {LONG}", now - spliced);
        spliced = now;
    }
    assert_eq!(backend.connections(), 1, "the connection is kept after a long body");
}

/// The endpoint answers as soon as it has the last byte: that may be before all that stands for it has passed.
#[tokio::test]
async fn many_uploads_go_over_one_connection() {
    const LENGTH: usize = 1024 * 1024;
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let sent: Vec<u8> = (0..LENGTH).map(byte).collect();
    let expected = sent.clone();
    let backend = RawBackend::start(move |_, mut stream| {
        let expected = expected.clone();
        async move {
            let mut body = vec![0; LENGTH];
            loop {
                if read_head(&mut stream).await.is_empty() {
                    return;
                }
                stream.read_exact(&mut body).await.expect("all of it");
                stream.write_all(ANSWER).await.expect("sent");
                assert!(body == expected, "it is what was sent");
            }
        }
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let request = [head("/", &format!("content-length: {LENGTH}")), sent].concat();
    let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
    for _ in 0..200 {
        client.write_all(&request).await.expect("it is taken");
        let mut came = Vec::new();
        while !came.ends_with(b"ok") {
            let read = timeout(SOON, client.read_buf(&mut came)).await.expect("an answer in time");
            assert!(read.expect("more") > 0, "{}", String::from_utf8_lossy(&came));
        }
    }
    assert_eq!(backend.connections(), 1, "it is kept");
    assert!(fixture.metric(SPLICED) > 100 * LENGTH as u64, "they went round");
}

#[tokio::test]
async fn what_has_no_length_is_copied() {
    let backend = checking().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
    client.write_all(&head("/", "transfer-encoding: chunked")).await.expect("sent");
    for part in body().chunks(1024 * 1024) {
        client.write_all(format!("{:x}\r\n", part.len()).as_bytes()).await.expect("sent");
        client.write_all(part).await.expect("sent");
        client.write_all(b"\r\n").await.expect("sent");
    }
    client.write_all(b"0\r\n\r\n").await.expect("sent");
    expect_whole(&mut client, 1).await;
    assert_eq!(fixture.metric(SPLICED), 0);
}

/// More than once: what was on its way belongs to nobody else.
#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing_to_the_next() {
    let backend = checking().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let framing = format!("content-length: {LONG}");
    let (head, body) = (head("/slow", &framing), body());
    for _ in 0..3 {
        let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
        client.write_all(&head).await.expect("sent");
        client.write_all(&body[..LONG / 2]).await.expect("sent");
        drop(client);
        let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
        client.write_all(&[head.clone(), body.clone()].concat()).await.expect("sent");
        expect_whole(&mut client, 1).await;
    }
    eventually("the connections are closed", || fixture.proxy.left().total() == 0).await;
}

/// Whatever the endpoint speaks, it is not to blame for the rest of its response.
#[tokio::test]
async fn a_response_ends_with_a_request_that_breaks_off() {
    for is_http2 in [false, true] {
        let echo = |request: Request<Incoming>| async {
            Response::new(request.into_body().map_err(io::Error::other).boxed_unsync())
        };
        let backend = if is_http2 { Backend::http2(echo).await } else { Backend::start(echo).await };
        let fixture = Fixture::start(Table::all_spoken(&[backend.address], protocol(is_http2, None)));
        for _ in 0..10 {
            let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
            client.write_all(&head("/", "content-length: 100")).await.expect("sent");
            client.write_all(b"the half").await.expect("sent");
            let mut came = Vec::new();
            while !String::from_utf8_lossy(&came).contains("the half") {
                let read = timeout(SOON, client.read_buf(&mut came)).await.expect("in time");
                assert!(read.expect("more") > 0, "{}", String::from_utf8_lossy(&came));
            }
            client.shutdown().await.expect("half closed");
            // By a reset, or by the end of what is no end of a body.
            drop(timeout(SOON, client.read_to_end(&mut came)).await.expect("in time"));
            assert!(!came.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&came));
        }
        eventually("the connections are closed", || fixture.proxy.left().total() == 0).await;
        for breach in Breach::ALL {
            let counted = format!("lb_l7_upstream_breaches_total{{reason=\"{}\"}}", breach.label());
            assert_eq!(fixture.metric(&counted), 0, "{counted}, HTTP/2: {is_http2}");
        }
    }
}

/// Taken back is not ended, whatever reason a client of HTTP/2 gives: the endpoint would take the half of it for the whole.
#[tokio::test]
async fn a_request_that_is_taken_back_is_not_whole() {
    // POST / without a length, by the static table of HPACK (RFC 7541, appendix A).
    const POST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'a'];
    const HALF: &[u8] = b"the half";
    let (tell, mut told) = mpsc::unbounded_channel();
    let backend = RawBackend::start(move |_, mut stream| {
        let tell = tell.clone();
        async move {
            let mut came = Vec::new();
            while stream.read_buf(&mut came).await.is_ok_and(|read| read > 0) {
                if came.windows(HALF.len()).any(|part| part == HALF) {
                    drop(tell.send(came.clone()));
                }
            }
            drop(tell.send(came));
        }
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for reason in [h2::Reason::NO_ERROR, h2::Reason::CANCEL, h2::Reason::INTERNAL_ERROR] {
        let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
        let (head, half) = (frame(HEADERS, END_HEADERS, 1, POST), frame(DATA, 0, 1, HALF));
        let all = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &head, &half].concat();
        client.write_all(&all).await.expect("sent");
        timeout(SOON, told.recv()).await.expect("in time").expect("the half");
        let reset = frame(RST_STREAM, 0, 1, &u32::from(reason).to_be_bytes());
        client.write_all(&reset).await.expect("sent");
        let came = timeout(SOON, told.recv()).await.expect("in time").expect("the end");
        let came = String::from_utf8_lossy(&came);
        assert!(came.contains("chunked") && !came.ends_with("0\r\n\r\n"), "{reason}: {came}");
    }
}

/// The rest of the upload is taken, and the next request on the connection gets its own answer.
#[tokio::test]
async fn an_answer_before_the_end_ends_the_way() {
    let backend = RawBackend::start(|_, mut stream| async move {
        read_head(&mut stream).await;
        let mut part = vec![0; 512 * 1024];
        drop(stream.read_exact(&mut part).await);
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly").await);
        // Closed with what is unread: a reset.
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let framing = format!("content-length: {LONG}");
    for _ in 0..3 {
        let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
        client.write_all(&head("/", &framing)).await.expect("sent");
        let (mut from, mut to) = client.split();
        let body = Bytes::from(body());
        let sending = async { to.write_all(&body).await };
        let mut came = Vec::new();
        let answered = async {
            while !came.ends_with(b"early") {
                if from.read_buf(&mut came).await.expect("an answer") == 0 {
                    break;
                }
            }
        };
        let both = timeout(SOON, async { tokio::join!(sending, answered) }).await;
        let (sent, ()) = both.expect("in time");
        let answer = String::from_utf8_lossy(&came);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("early"), "{answer:?} {sent:?}");
    }
    assert!(fixture.metric(SPLICED) > 0);
    eventually("the connections are closed", || fixture.proxy.left().total() == 0).await;
}
