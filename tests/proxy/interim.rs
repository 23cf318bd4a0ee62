//! Interim responses: 100 Continue once an endpoint took the request, and no other. And clients that close their side.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::service::service_fn;
use lb_agent::model::Unavailable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::support::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PREFACE, SETTINGS, frame, read_frame,
};
use super::support::{
    Backend, Fixture, Http, RawBackend, Speaks, Table, eventually, protocol, raw_exchange, request, text,
};

const EXPECTING: &[u8] =
    b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n";

/// Sends a head and waits for 100 Continue; sends the body, and gives what comes then.
async fn expect(address: std::net::SocketAddr, on_continue: impl FnOnce()) -> String {
    let mut client = TcpStream::connect(address).await.expect("connect");
    client.write_all(EXPECTING).await.expect("a head");
    let mut interim = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    client.read_exact(&mut interim).await.expect("an interim response");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    on_continue();
    client.write_all(b"hello").await.expect("a body");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an answer");
    answer
}

async fn length(request: http::Request<hyper::body::Incoming>) -> http::Response<super::support::Body> {
    let body = http_body_util::BodyExt::collect(request.into_body()).await.expect("a whole body").to_bytes();
    http::Response::new(text(format!("{} bytes", body.len())))
}

#[tokio::test]
async fn a_client_that_expects_it_is_told_to_continue() {
    for http2 in [false, true] {
        let backend = Backend::speaking(Speaks { http2, tls: None }, length).await;
        let fixture = Fixture::start(Table::all_spoken(&[backend.address], protocol(http2, None)));
        // Over a new connection to the endpoint, and over one that is kept.
        for _ in 0..2 {
            let answer = expect(fixture.http(), || {}).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("5 bytes"), "{answer}");
        }
        assert_eq!(backend.connections(), 1);
    }
}

/// A request over HTTP/2 that expects to be told to continue.
fn expecting() -> Vec<u8> {
    let expect = [&[0x00, 6][..], b"expect", &[12], b"100-continue"].concat();
    // POST, http, /, and the host.
    let head = [&[0x83, 0x86, 0x84, 0x41, 1, b'a'], &*expect].concat();
    [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, END_HEADERS, 1, &head)].concat()
}

/// The next frame of these kinds.
async fn next_of(client: &mut TcpStream, kinds: &[u8]) -> Frame {
    loop {
        let frame = read_frame(client).await.expect("a frame");
        if kinds.contains(&frame.kind) {
            return frame;
        }
    }
}

#[tokio::test]
async fn so_is_one_that_speaks_http2() {
    for http2 in [false, true] {
        let backend = Backend::speaking(Speaks { http2, tls: None }, length).await;
        let fixture = Fixture::start(Table::all_spoken(&[backend.address], protocol(http2, None)));
        let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
        client.write_all(&expecting()).await.expect("a head");
        let interim = next_of(&mut client, &[HEADERS, DATA]).await;
        assert!(interim.payload.len() < 10, "a status alone: {interim:?}");
        client.write_all(&frame(DATA, END_STREAM, 1, b"hello")).await.expect("a body");
        let head = next_of(&mut client, &[HEADERS, DATA]).await;
        assert!(head.kind == HEADERS && head.payload.len() > 10, "{head:?}");
        assert_eq!(next_of(&mut client, &[HEADERS, DATA]).await.payload, b"5 bytes");
    }
}

#[tokio::test]
async fn not_before_an_endpoint_took_the_request() {
    // It takes the connection, and holds the handshake of TLS or of HTTP/2.
    for (http2, tls) in [(false, true), (true, false)] {
        let (has_let, connected) = (Arc::<AtomicBool>::default(), Arc::new(Semaphore::new(0)));
        let is_let = has_let.clone();
        let (here, there) = (connected.clone(), Arc::new(Semaphore::new(0)));
        let go = there.clone();
        let speaks = if tls { Speaks::tls(http2, &["http/1.1"]) } else { Speaks { http2, tls: None } };
        let backend = RawBackend::start(move |_, stream| {
            let (here, there, is_let, speaks) = (here.clone(), there.clone(), is_let.clone(), speaks.clone());
            async move {
                here.add_permits(1);
                there.acquire().await.expect("open").forget();
                is_let.store(true, Ordering::SeqCst);
                let service = service_fn(|request| async { Ok(length(request).await) });
                speaks.serve(stream, service).await;
            }
        })
        .await;
        let fixture =
            Fixture::start(Table::all_spoken(&[backend.address], protocol(http2, tls.then_some("a"))));
        let letting = async {
            connected.acquire().await.expect("open").forget();
            go.add_permits(1);
        };
        let asking = expect(fixture.http(), || assert!(has_let.load(Ordering::SeqCst), "too early"));
        let (answer, ()) = tokio::join!(asking, letting);
        assert!(answer.ends_with("5 bytes"), "{answer}");
    }
}

#[tokio::test]
async fn who_is_refused_is_not_told_to_continue() {
    let gone = RawBackend::start(|_, stream| async move { drop(stream) }).await;
    for (table, status) in [
        (Table::all_unavailable(Unavailable::NoEndpoint), "503"),
        (Table::default().build(), "404"),
        (Table::all_spoken(&[gone.address], protocol(true, None)), "502"),
    ] {
        let fixture = Fixture::start(table);
        let answer = raw_exchange(fixture.http(), EXPECTING).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
        client.write_all(&expecting()).await.expect("a head");
        let head = next_of(&mut client, &[HEADERS, DATA]).await;
        assert!(head.payload.len() > 10, "with the headers of a response: {head:?}");
    }
}

#[tokio::test]
async fn interim_responses_of_endpoints_stay_there() {
    let backend = RawBackend::start(|_, mut stream| async move {
        let mut head = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            head.push(byte);
            if head.ends_with(b"\r\n\r\n") {
                head.clear();
                let interim =
                    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
                let answer = format!("{interim}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone");
                stream.write_all(answer.as_bytes()).await.expect("sent");
            }
        }
    })
    .await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let answer =
        raw_exchange(fixture.http(), b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("done"), "{answer}");
    let mut two = Http::two(fixture.http()).await;
    let answer = two.send(request("a", "http://a/")).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "done"));
}

#[tokio::test]
async fn a_client_that_closes_its_side_has_left() {
    struct Gone(Arc<AtomicBool>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    for http2 in [false, true] {
        let (begun, gone) = (Arc::new(Semaphore::new(0)), Arc::<AtomicBool>::default());
        let (begins, left) = (begun.clone(), gone.clone());
        let backend = Backend::speaking(Speaks { http2, tls: None }, move |_| {
            let (begins, left) = (begins.clone(), Gone(left.clone()));
            async move {
                let _left = left;
                begins.add_permits(1);
                std::future::pending().await
            }
        })
        .await;
        let fixture = Fixture::start(Table::all_spoken(&[backend.address], protocol(http2, None)));
        let mut client = TcpStream::connect(fixture.http()).await.expect("connect");
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("a request");
        begun.acquire().await.expect("open").forget();
        client.shutdown().await.expect("our side is closed");
        assert_eq!(client.read_to_end(&mut Vec::new()).await.expect("an end in order"), 0);
        eventually("the endpoint's work ends", || gone.load(Ordering::SeqCst)).await;
    }
}
