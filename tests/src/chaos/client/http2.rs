//! HTTP/2: two streams that stay open, and a request each second beside them, on one connection.

use std::error::Error as _;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Duration;

use super::super::fate::{End, Failure};
use super::life::Life;
use super::streams::{PROOFS, Stream};
use crate::lab::site::SHOP;
use crate::lab::streams::PACE;
use crate::pattern::Pattern;

type Sender = SendRequest<Empty<Bytes>>;

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        let why = error.source().map_or_else(String::new, |source| format!(": {source}"));
        Self::new(End::Reset, format!("{error}{why}"))
    }
}

/// Streams and requests until it is to end.
pub(super) async fn live<S>(life: &Life, stream: S, what: Stream) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    // One after the other: this is no test of how many a client may open at once.
    let seeds = [2 * life.number, 2 * life.number + 1];
    let first = life.wait(Duration::ZERO, open(&sender, seeds[0], what)).await?;
    let second = life.wait(Duration::ZERO, open(&sender, seeds[1], what)).await?;
    life.opened();
    let lived = tokio::try_join!(
        receive(life, first, seeds[0], what),
        receive(life, second, seeds[1], what),
        requests(life, &sender)
    );
    connection.abort();
    match lived? {
        ((), (), Taken::All) => Ok(()),
        // The streams came to their ends after a GOAWAY.
        ((), (), Taken::NoMore) if !life.is_last() => Err(Failure::new(End::InOrder, "GOAWAY")),
        ((), (), Taken::NoMore) => Ok(()),
    }
}

async fn open(sender: &Sender, seed: u64, what: Stream) -> Result<Incoming, Failure> {
    let path = format!("/pattern/{seed}/{}/{}", what.bytes, what.rate);
    let response = sender.clone().send_request(request(&path)).await?;
    match response.status().as_u16() {
        200 => Ok(response.into_body()),
        status => Err(Failure::new(End::Wrong, format!("status {status}"))),
    }
}

async fn receive(life: &Life, mut body: Incoming, seed: u64, what: Stream) -> Result<(), Failure> {
    let mut pattern = Pattern::new(seed);
    let mut proofs = 0;
    while pattern.at() < what.bytes && proofs < PROOFS {
        proofs += u8::from(life.is_last());
        let frame = life.wait(PACE, async { Ok(body.frame().await) }).await?;
        let Some(frame) = frame else {
            return Err(Failure::new(End::Reset, format!("a stream ended at {}", pattern.at())));
        };
        if let Ok(data) = frame?.into_data() {
            pattern.check(&data)?;
        }
    }
    Ok(())
}

/// Whether the other side took all requests.
enum Taken {
    All,
    /// It takes none any more; the streams tell whether that is in order.
    NoMore,
}

async fn requests(life: &Life, sender: &Sender) -> Result<Taken, Failure> {
    life.live().await;
    let mut turns = life.turns();
    loop {
        let is_last = tokio::select! {
            biased;
            () = life.last() => true,
            _ = turns.tick() => false,
        };
        if sender.clone().ready().await.is_err() {
            return Ok(Taken::NoMore);
        }
        match life.wait(Duration::ZERO, exchange(sender)).await? {
            Taken::NoMore => return Ok(Taken::NoMore),
            Taken::All if is_last => return Ok(Taken::All),
            Taken::All => {}
        }
    }
}

async fn exchange(sender: &Sender) -> Result<Taken, Failure> {
    let response = match sender.clone().send_request(request("/")).await {
        Err(error) if is_refused(&error) => return Ok(Taken::NoMore),
        response => response?,
    };
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if status != 200 || !body.starts_with(b"pod: ") {
        return Err(Failure::new(End::Wrong, format!("status {status}")));
    }
    Ok(Taken::All)
}

/// It was never sent, or a GOAWAY without an error says that nobody looked at it (RFC 9113, 6.8): clients send it
/// again elsewhere.
fn is_refused(error: &hyper::Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_canceled()
        || source.is_some_and(|source| source.is_go_away() && source.reason() == Some(h2::Reason::NO_ERROR))
}

fn request(path: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = format!("https://{SHOP}{path}").parse().unwrap_or_default();
    request
}
