//! A pod of the lab: a small HTTP server that says who it is and what it saw. Run by `lb-lab pod`.
//!
//! - any path: `pod`, `peer` (the node that the request came from), `request` and each header, one a line
//! - `Upgrade: websocket`: 101, then every byte comes back as it was sent (no frames are looked at); with the path
//!   `/messages` each message comes back in a frame of the pod's own
//! - `/pattern/SEED/BYTES/RATE`: bytes of a pattern, so many a second; `POST /check/SEED`: whether the body is that
//!   pattern
//! - `/status/NNN`: that status; `/bytes/N`: N bytes

use std::convert::Infallible;
use std::fmt::Write;
use std::net::{Ipv6Addr, SocketAddr};

use anyhow::Result;
use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io;
use tokio::net::TcpListener;

use super::streams::{self, Body, whole};

/// The port of every pod.
pub const PORT: u16 = 8080;

/// Serves until the process ends.
///
/// # Errors
/// If the port is taken.
pub async fn serve(name: &str) -> Result<Infallible> {
    serve_at(TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).await?, name).await
}

/// As `serve`, where it listens already.
///
/// # Errors
/// If accepting connections fails.
pub async fn serve_at(listener: TcpListener, name: &str) -> Result<Infallible> {
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let name = name.to_owned();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &name, peer));
            // How a client leaves is its own business.
            let _ =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    name: &str,
    peer: SocketAddr,
) -> Result<Response<Body>, hyper::Error> {
    if request.headers().get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
    {
        return Ok(echo(request));
    }
    if request.uri().path().starts_with("/check/") {
        return streams::check(request).await;
    }
    if let Some(stream) = streams::pattern(request.uri()) {
        return Ok(stream);
    }
    let path = request.uri().path().to_owned();
    let report = report(&request, name, peer);
    let body = request.into_body().collect().await?.to_bytes();
    let mut response =
        Response::new(whole(match path.strip_prefix("/bytes/").and_then(|n| n.parse().ok()) {
            Some(length) => Bytes::from(vec![b'x'; length]),
            None => Bytes::from(format!("{report}body-bytes: {}\n", body.len())),
        }));
    if let Some(status) = path.strip_prefix("/status/").and_then(|code| code.parse().ok()) {
        *response.status_mut() = status;
    }
    Ok(response)
}

fn report(request: &Request<Incoming>, name: &str, peer: SocketAddr) -> String {
    let mut text = format!("pod: {name}\npeer: {}\n", peer.ip().to_canonical());
    let _ = writeln!(text, "request: {} {} {:?}", request.method(), request.uri(), request.version());
    for (header, value) in request.headers() {
        let _ = writeln!(text, "{header}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    text
}

fn echo(request: Request<Incoming>) -> Response<Body> {
    tokio::spawn(async move {
        if request.uri().path() == "/messages" {
            return streams::echo_messages(request).await;
        }
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let (mut from, mut to) = io::split(TokioIo::new(upgraded));
            let _ = io::copy(&mut from, &mut to).await;
        }
    });
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    response
}
