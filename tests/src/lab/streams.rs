//! What the lab's pods stream: bytes of a pattern at a rate, bytes that they check, WebSocket messages.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::pattern::Pattern;
use crate::websocket::{Message, Opcode};

/// The body of every answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A body that is there at once.
pub(super) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// Between two parts of a stream that has a rate.
pub const PACE: Duration = Duration::from_secs(1);

/// `/pattern/SEED/BYTES/RATE`: so many bytes of the stream of this seed, so many of them a second.
pub(super) fn pattern(uri: &Uri) -> Option<Response<Body>> {
    let mut numbers = uri.path().strip_prefix("/pattern/")?.split('/').map(str::parse::<u64>);
    let (seed, bytes, rate) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    let part = (rate * PACE.as_millis() as u64 / 1_000).max(1);
    let start = Instant::now();
    let body = stream::unfold((Pattern::new(seed), 0_u32), move |(mut pattern, parts)| async move {
        let left = bytes - pattern.at();
        if left == 0 {
            return None;
        }
        tokio::time::sleep_until(start + parts * PACE).await;
        let bytes = pattern.take(left.min(part) as usize);
        Some((Ok(Frame::data(Bytes::from(bytes))), (pattern, parts + 1)))
    });
    let mut response = Response::new(StreamBody::new(body).boxed_unsync());
    response.headers_mut().insert(http::header::CONTENT_LENGTH, bytes.into());
    Some(response)
}

/// `/check/SEED`: whether the request's body is the stream of this seed; its length, or where it is wrong.
pub(super) async fn check(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let seed = request.uri().path().strip_prefix("/check/").and_then(|seed| seed.parse().ok());
    let mut pattern = Pattern::new(seed.unwrap_or_default());
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if let Err(wrong) = pattern.check(&data) {
            let mut response = Response::new(whole(format!("wrong byte at {}\n", wrong.at)));
            *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            return Ok(response);
        }
    }
    Ok(Response::new(whole(format!("{}\n", pattern.at()))))
}

/// Sends each message back, and ends when the other side does.
pub(super) async fn echo_messages(request: Request<Incoming>) {
    let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
    let mut stream = TokioIo::new(upgraded);
    let mut received = BytesMut::new();
    loop {
        while let Ok(Some(message)) = Message::parse(&mut received) {
            // How a client leaves is its own business.
            if stream.write_all(&message.frame(None)).await.is_err() || message.opcode == Opcode::Close {
                return;
            }
        }
        if !matches!(stream.read_buf(&mut received).await, Ok(1..)) {
            return;
        }
    }
}
