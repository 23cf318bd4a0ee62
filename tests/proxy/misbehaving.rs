//! Endpoints that break off, talk nonsense, say too much or fall silent: what the client gets, what is counted, and that
//! no other response suffers from it.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use lb_agent::l7::Timeouts;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, first_request, frame,
};
use super::support::{
    Answer, Fixture, Http, RawBackend, RequestBody, Table, eventually, protocol, quick, read_head, request,
};

/// An endpoint that reads a head, sends these bytes and closes.
async fn sends(bytes: &'static [u8]) -> RawBackend {
    RawBackend::start(move |_, mut stream| async move {
        read_head(&mut stream).await;
        drop(stream.write_all(bytes).await);
    })
    .await
}

/// One that speaks HTTP/2: takes a request, sends these frames and closes.
async fn sends_frames(frames: fn(u32) -> Vec<u8>) -> RawBackend {
    RawBackend::start(move |_, mut stream| async move {
        let id = first_request(&mut stream).await;
        drop(stream.write_all(&frames(id)).await);
        // What is still to come must not make a reset of the close.
        drop(stream.shutdown().await);
        drop(stream.read_to_end(&mut Vec::new()).await);
    })
    .await
}

fn one_of_http2(address: SocketAddr) -> lb_agent::model::RouteTable {
    Table::all_spoken(&[address], protocol(true, None))
}

/// Is not sent a second time.
fn post() -> Request<RequestBody> {
    let mut post = request("a", "/");
    *post.method_mut() = Method::POST;
    post
}

fn breaches(fixture: &Fixture, reason: &str) -> u64 {
    fixture.metric(&format!("lb_l7_upstream_breaches_total{{reason=\"{reason}\"}}"))
}

async fn check_reply(fixture: Fixture, backend: RawBackend, (status, reply): (u16, &str), reason: &str) {
    let answer = Http::one(fixture.http()).await.send(post()).await;
    assert_eq!(answer.status, status, "{reason}");
    assert_eq!(backend.connections(), 1, "{reason}: it is asked once");
    assert_eq!(fixture.metric(&format!("lb_l7_replies_total{{reason=\"{reply}\"}}")), 1, "{reason}");
    assert_eq!(breaches(&fixture, reason), 1, "{reason}");
}

const BAD_RESPONSE: (u16, &str) = (502, "bad_response");
const TIME_OUT: (u16, &str) = (504, "response_timeout");

#[tokio::test]
async fn what_is_no_response_is_502() {
    for (bytes, reason) in [
        (&b""[..], "closed"),
        (b"HTTP/1.1 200", "closed"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "malformed_head"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", "malformed_head"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nx", "malformed_head"),
        (b"HTTP/1.1 200 OK\r\nx : y\r\ncontent-length: 0\r\n\r\n", "malformed_head"),
        (b"HTTP/1.1 200 OK\r\nx: y\r\n z\r\ncontent-length: 0\r\n\r\n", "malformed_head"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
            "unasked_switch",
        ),
        (b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "malformed_head"),
    ] {
        let backend = sends(bytes).await;
        let fixture = Fixture::start(Table::all_to(&[backend.address]));
        check_reply(fixture, backend, BAD_RESPONSE, reason).await;
    }
}

#[tokio::test]
async fn frames_that_are_no_response_are_502() {
    for (frames, reason) in [
        ((|_| Vec::new()) as fn(u32) -> Vec<u8>, "closed"),
        (|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "malformed_head"),
        // No entry of the table, and DATA before the head.
        (|id| frame(HEADERS, END_HEADERS, id, &[0xff, 0xff, 0xff]), "malformed_head"),
        (|id| frame(DATA, 0, id, b"half"), "malformed_head"),
        (|id| frame(RST_STREAM, 0, id, &2_u32.to_be_bytes()), "reset"),
    ] {
        let backend = sends_frames(frames).await;
        let fixture = Fixture::start(one_of_http2(backend.address));
        check_reply(fixture, backend, BAD_RESPONSE, reason).await;
    }
}

#[tokio::test]
async fn a_head_without_end_is_502() {
    for line in [&b"x: y\r\n"[..], b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"] {
        let backend = RawBackend::start(move |_, mut stream| async move {
            read_head(&mut stream).await;
            let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while sent.is_ok() {
                sent = stream.write_all(line).await;
            }
        })
        .await;
        let fixture = Fixture::start(Table::all_to(&[backend.address]));
        check_reply(fixture, backend, BAD_RESPONSE, "large_head").await;
    }
}

#[tokio::test]
async fn a_head_without_end_is_502_over_http2_too() {
    // `:status: 200`, then headers that are never indexed: few in each frame, or many.
    for fields in [1, 3000] {
        let backend = RawBackend::start(move |_, mut stream| async move {
            let id = first_request(&mut stream).await;
            let more = frame(CONTINUATION, 0, id, &[0x10, 1, b'x', 1, b'y'].repeat(fields));
            let mut sent = stream.write_all(&frame(HEADERS, 0, id, &[0x88])).await;
            while sent.is_ok() {
                sent = stream.write_all(&more).await;
            }
        })
        .await;
        let fixture = Fixture::start(one_of_http2(backend.address));
        check_reply(fixture, backend, BAD_RESPONSE, "large_head").await;
    }
    // One that ends, and is too long: the HTTP library does not say what it has against it.
    let backend = sends_frames(|id| {
        let more = [0x10, 1, b'x', 1, b'y'].repeat(2500);
        frame(HEADERS, END_HEADERS | END_STREAM, id, &[&[0x88], &more[..]].concat())
    })
    .await;
    let fixture = Fixture::start(one_of_http2(backend.address));
    check_reply(fixture, backend, BAD_RESPONSE, "malformed_head").await;
}

/// An endpoint that sends this again and again, slowly, once it has a request.
async fn drips(bytes: &'static [u8]) -> RawBackend {
    RawBackend::start(move |_, mut stream| async move {
        read_head(&mut stream).await;
        while stream.write_all(bytes).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_is_504() {
    for (bytes, reason) in [
        (&b""[..], "silent"),
        (b"H", "slow_head"),
        (b"HTTP/1.1 200 OK\r\nx: y", "slow_head"),
        // Interim responses are none.
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", "silent"),
    ] {
        let backend = match bytes {
            b"H" => drips(b"HTTP/1.1 200 OK x").await,
            bytes => drips(bytes).await,
        };
        let fixture = Fixture::start_quick(Table::all_to(&[backend.address]));
        check_reply(fixture, backend, TIME_OUT, reason).await;
    }
    let backend = RawBackend::start(|_, mut stream| async move {
        first_request(&mut stream).await;
        drop(stream.read_to_end(&mut Vec::new()).await);
    })
    .await;
    let fixture = Fixture::start_quick(one_of_http2(backend.address));
    check_reply(fixture, backend, TIME_OUT, "silent").await;
}

/// The client must not take what came for the whole.
async fn check_break(fixture: Fixture, reason: &str) {
    for http2 in [false, true] {
        let before = breaches(&fixture, reason);
        let mut client = match http2 {
            false => Http::one(fixture.http()).await,
            true => Http::two(fixture.http()).await,
        };
        let get = Request::builder().uri("http://a/").body(request("a", "/").into_body()).expect("a request");
        let response = client.begin(if http2 { get } else { request("a", "/") }).await;
        // With HTTP/1, nothing at all would say that the connection was closed before it was asked. With HTTP/2, whether the head
        // still comes depends on when the proxy hears of the break.
        assert!(http2 || response.is_ok(), "{reason}: no head");
        if let Ok(response) = response {
            let answer = Answer::read(response).await;
            assert!(answer.is_err(), "{reason}: {answer:?}");
        }
        assert_eq!(breaches(&fixture, reason), before + 1, "{reason}");
        drop(client);
        eventually("the connection is closed", || fixture.proxy.left().total() == 0).await;
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_passed_as_whole() {
    for (bytes, reason) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"[..], "cut_body"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", "cut_body"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n", "malformed_body"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf and more\r\n0\r\n\r\n",
            "malformed_body",
        ),
    ] {
        let backend = sends(bytes).await;
        check_break(Fixture::start(Table::all_to(&[backend.address])), reason).await;
    }
}

/// The head `200`, and a Content-Length of 10 if there is to be one.
fn head(id: u32, has_length: bool) -> Vec<u8> {
    let length: &[u8] = if has_length { &[0x88, 0x5c, 0x02, b'1', b'0'] } else { &[0x88] };
    frame(HEADERS, END_HEADERS, id, length)
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_not_passed_as_whole() {
    for (frames, reason) in [
        ((|id| [head(id, true), frame(DATA, 0, id, b"half")].concat()) as fn(u32) -> Vec<u8>, "cut_body"),
        (|id| [head(id, true), frame(DATA, END_STREAM, id, b"half")].concat(), "malformed_body"),
        (|id| [head(id, true), frame(DATA, 0, id, b"more than ten")].concat(), "malformed_body"),
        (|id| [head(id, false), frame(DATA, 0, id, b"half"), head(id, false)].concat(), "malformed_body"),
        (
            |id| {
                [head(id, false), frame(DATA, 0, id, b"half"), frame(RST_STREAM, 0, id, &[0, 0, 0, 2])]
                    .concat()
            },
            "reset",
        ),
    ] {
        let backend = sends_frames(frames).await;
        check_break(Fixture::start(one_of_http2(backend.address)), reason).await;
    }
}

#[tokio::test]
async fn a_break_shows_where_only_the_connections_end_would_tell() {
    let backend = sends(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
    client.write_all(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n").await.expect("sent");
    let ended = client.read_to_end(&mut Vec::new()).await;
    assert!(ended.is_err(), "a reset, not an end: {ended:?}");
}

#[tokio::test]
async fn a_body_without_length_ends_with_its_connection() {
    let backend = sends(b"HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = Http::one(fixture.http()).await;
    for _ in 0..3 {
        assert_eq!(client.send(request("a", "/")).await.text(), "until the end");
    }
    assert_eq!(backend.connections(), 3, "it cannot be reused");
}

#[tokio::test]
async fn bytes_after_a_response_poison_only_their_connection() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok, and more than its length",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil",
    ] {
        // Stays open: nothing but what came forbids to use it again.
        let backend = RawBackend::start(move |_, mut stream| async move {
            read_head(&mut stream).await;
            drop(stream.write_all(bytes).await);
            drop(stream.read_to_end(&mut Vec::new()).await);
        })
        .await;
        let fixture = Fixture::start(Table::all_to(&[backend.address]));
        let mut client = Http::one(fixture.http()).await;
        for number in 1..=3 {
            assert_eq!(client.send(request("a", "/")).await.text(), "ok");
            assert_eq!(breaches(&fixture, "surplus"), number);
        }
        assert_eq!(backend.connections(), 3);
    }
}

#[tokio::test]
async fn a_body_where_none_can_be_poisons_its_connection() {
    let backend = RawBackend::start(|_, mut stream| async move {
        let has_body = !read_head(&mut stream).await.starts_with(b"HEAD");
        let status: &[u8] = if has_body { b"HTTP/1.1 304 Not Modified\r\n" } else { b"HTTP/1.1 200 OK\r\n" };
        drop(stream.write_all(&[status, b"content-length: 4\r\n\r\nevil"].concat()).await);
        drop(stream.read_to_end(&mut Vec::new()).await);
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = Http::one(fixture.http()).await;
    for (number, method) in [(1, Method::HEAD), (2, Method::GET), (3, Method::HEAD)] {
        let mut asked = request("a", "/");
        *asked.method_mut() = method;
        assert_eq!(client.send(asked).await.text(), "");
        eventually("it is counted", || breaches(&fixture, "surplus") == number).await;
    }
    assert_eq!(backend.connections(), 3);
}

#[tokio::test]
async fn a_second_response_that_comes_later_answers_nothing() {
    let backend = RawBackend::start(|number, mut stream| async move {
        read_head(&mut stream).await;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
        drop(stream.write_all(answer.as_bytes()).await);
        // Long after the first one was passed on.
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil").await);
        drop(stream.read_to_end(&mut Vec::new()).await);
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = Http::one(fixture.http()).await;
    for number in 0..3 {
        assert_eq!(client.send(request("a", "/")).await.text(), number.to_string());
        eventually("it is counted", || breaches(&fixture, "surplus") == number + 1).await;
    }
}

/// How an endpoint ends a connection on which it has not read all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Closes {
    /// Its side first, as servers do that want their answer to be read (RFC 9112 section 9.6).
    Gently,
    /// At once, so that the kernel resets it: what came before that can still be read.
    ByReset,
}

#[tokio::test]
async fn an_answer_before_the_upload_ends_is_passed_on_however_the_endpoint_closes() {
    for closes in [Closes::Gently, Closes::ByReset] {
        let backend = RawBackend::start(move |_, mut stream| async move {
            drop(stream.read_u8().await);
            drop(stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 7\r\n\r\ntoo big").await);
            if closes == Closes::Gently {
                drop(stream.shutdown().await);
                drop(stream.read_to_end(&mut Vec::new()).await);
            }
        })
        .await;
        let fixture = Fixture::start(Table::all_to(&[backend.address]));
        for _ in 0..20 {
            let mut upload = post();
            *upload.body_mut() = Full::from(vec![b'x'; 1 << 20]).boxed_unsync();
            let answer = Http::one(fixture.http()).await.send(upload).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (413, "too big"), "{closes:?}");
        }
        let timeouts = Timeouts { upload: Duration::from_secs(30), ..quick() };
        let fixture = Fixture::start_with(timeouts, Table::all_to(&[backend.address]));
        // The client waits for an answer before it goes on.
        let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
        client
            .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n")
            .await
            .expect("sent");
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.expect("an answer");
        assert!(answer.ends_with(b" 413"), "{closes:?}: {answer:?}");
    }
}
