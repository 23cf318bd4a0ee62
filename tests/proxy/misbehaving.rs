//! Endpoints that break off, talk nonsense or fall silent.

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Answer, Fixture, Http, RawBackend, Table, eventually, request};

/// An endpoint that reads a head, sends these bytes and closes.
async fn sends(bytes: &'static [u8]) -> RawBackend {
    RawBackend::start(move |_, mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        drop(stream.write_all(bytes).await);
    })
    .await
}

#[tokio::test]
async fn what_is_no_response_is_502() {
    for bytes in [
        &b""[..],
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        let backend = sends(bytes).await;
        let fixture = Fixture::start(Table::all_to(&[backend.address]));
        let mut post = request("a", "/");
        *post.method_mut() = Method::POST;
        let answer = Http::one(fixture.http()).await.send(post).await;
        assert_eq!(answer.status, 502, "{:?}", String::from_utf8_lossy(bytes));
        assert_eq!(backend.connections(), 1, "it is asked once");
        assert_eq!(fixture.metric("lb_l7_replies_total{reason=\"bad_response\"}"), 1);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_passed_as_whole() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n",
    ] {
        let backend = sends(bytes).await;
        let fixture = Fixture::start(Table::all_to(&[backend.address]));
        let mut client = Http::one(fixture.http()).await;
        // Whether the head still comes depends on when the proxy hears of the break.
        if let Ok(response) = client.begin(request("a", "/")).await {
            let answer = Answer::read(response).await;
            assert!(answer.is_err(), "{answer:?}");
        }
        eventually("the connection is closed", || fixture.proxy.left().total() == 0).await;
    }
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
    let backend = sends(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nevil").await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = Http::one(fixture.http()).await;
    for _ in 0..3 {
        assert_eq!(client.send(request("a", "/")).await.text(), "ok");
    }
}
