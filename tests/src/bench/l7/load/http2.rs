//! HTTP/2 over TLS: some connections, each with as many requests at one time.

use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::{Method, Request};
use tokio::task::{JoinSet, spawn_local};

use super::super::site::{HOST, Listen, Site};
use super::{Clients, Http2, Opener, Opens, Window, check};

/// Of gRPC: not compressed, and 128 bytes long.
const MESSAGE: [u8; 133] = {
    let mut message = [b'x'; 133];
    message[0] = 0;
    [message[1], message[2], message[3], message[4]] = 128_u32.to_be_bytes();
    message
};

pub(super) fn start(
    load: Http2,
    listen: Listen,
    site: &Site,
    window: &Rc<Window>,
    clients: &mut Clients,
) -> Result<()> {
    for _ in 0..load.connections {
        let opener = Opener::new(Opens::Tls, b"h2", listen, site)?;
        clients.spawn_local(connection(opener, load, window.clone()));
    }
    Ok(())
}

async fn connection(mut opener: Opener, load: Http2, window: Rc<Window>) -> Result<()> {
    let mut builder = Builder::new();
    builder.enable_push(false).initial_window_size(1 << 20).initial_connection_window_size(1 << 24);
    let (sender, connection) = builder.handshake::<_, Bytes>(opener.open().await?).await?;
    // How it ends is seen by its streams.
    spawn_local(async move { drop(connection.await) });
    let mut streams = JoinSet::new();
    for _ in 0..load.streams {
        streams.spawn_local(ask(sender.clone(), load.grpc, window.clone()));
    }
    while let Some(ended) = streams.join_next().await {
        ended??;
    }
    Ok(())
}

async fn ask(mut sender: SendRequest<Bytes>, grpc: bool, window: Rc<Window>) -> Result<()> {
    let request = if grpc {
        let request = Request::builder().method(Method::POST).uri(format!("https://{HOST}/bench.Echo/Unary"));
        request.header("content-type", "application/grpc").header("te", "trailers").body(())?
    } else {
        Request::get(format!("https://{HOST}/"))
            .header("user-agent", "bench")
            .header("accept", "*/*")
            .body(())?
    };
    let mut sent = Instant::now();
    while !window.is_closed() {
        sender = sender.ready().await?;
        let (response, mut body) = sender.send_request(request.clone(), !grpc)?;
        if grpc {
            body.send_data(Bytes::from_static(&MESSAGE), true)?;
        }
        let response = response.await?;
        check(response.status().as_u16(), 200)?;
        read(response.into_body(), grpc).await?;
        sent = window.note(sent);
    }
    Ok(())
}

async fn read(mut body: RecvStream, grpc: bool) -> Result<()> {
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        length += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    if grpc {
        let trailers = body.trailers().await?.context("a gRPC answer has trailers")?;
        let status = trailers.get("grpc-status");
        ensure!(status.is_some_and(|status| status == "0"), "gRPC status {status:?}");
        ensure!(length == MESSAGE.len(), "a message of {length} bytes");
    }
    Ok(())
}
