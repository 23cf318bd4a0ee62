//! Upgrades: WebSocket tunnels after 101, and nothing else does.

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Backend, Fixture, Http, Table, eventually, request, text};

/// A backend that agrees to any upgrade it is asked for, then echoes; else says what it saw.
async fn echo() -> Backend {
    Backend::start(|mut request| async move {
        let asked = request.headers().get("upgrade").cloned();
        let Some(protocol) = asked else { return Response::new(text("plain")) };
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.expect("the proxy upgrades"));
            let (mut read, mut write) = tokio::io::split(&mut stream);
            drop(tokio::io::copy(&mut read, &mut write).await);
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", protocol)
            .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            .body(text(""))
            .expect("response")
    })
    .await
}

fn upgrade(
    protocol: &'static str,
) -> Request<http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, std::convert::Infallible>> {
    Request::builder()
        .uri("/socket")
        .header("host", "a")
        .header("connection", "Upgrade")
        .header("upgrade", protocol)
        .body(Empty::new().boxed_unsync())
        .expect("request")
}

#[tokio::test]
async fn a_websocket_is_tunnelled() {
    let backend = echo().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = Http::one(fixture.http()).await;
    let mut response = client.begin(upgrade("websocket")).await.expect("a response");
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["upgrade"], "websocket");
    assert!(response.headers().contains_key("sec-websocket-accept"));
    let mut tunnel = TokioIo::new(hyper::upgrade::on(&mut response).await.expect("upgraded"));
    for size in [1, 1000, 100_000] {
        let sent = vec![b'w'; size];
        let mut echoed = vec![0; size];
        let (mut read, mut write) = tokio::io::split(&mut tunnel);
        let (written, got) = tokio::join!(write.write_all(&sent), read.read_exact(&mut echoed));
        written.expect("sent");
        got.expect("echoed");
        assert_eq!(sent, echoed);
    }
    // Routes change; the tunnel stays.
    fixture.publish(Table::default().build());
    tunnel.write_all(b"still").await.expect("sent");
    let mut echoed = [0; 5];
    tunnel.read_exact(&mut echoed).await.expect("echoed");
    assert_eq!(&echoed, b"still");
    assert_eq!(fixture.proxy.left().total(), 1, "a tunnel is an open connection");
    drop((tunnel, client));
    eventually("the tunnel is closed", || fixture.proxy.left().total() == 0).await;
}

#[tokio::test]
async fn other_upgrades_are_dropped() {
    let backend = echo().await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    for protocol in ["h2c", "tls/1.3", "websockets"] {
        let answer = Http::one(fixture.http()).await.send(upgrade(protocol)).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "plain"), "{protocol}");
    }
}

#[tokio::test]
async fn a_refused_websocket_is_an_ordinary_answer() {
    let backend = Backend::says("no sockets here").await;
    let fixture = Fixture::start(Table::all_to(&[backend.address]));
    let mut client = Http::one(fixture.http()).await;
    let answer = client.send(upgrade("websocket")).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "no sockets here"));
    assert_eq!(client.send(request("a", "/")).await.status, 200, "the connection goes on");
}
