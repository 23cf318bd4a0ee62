//! What passes over streams of HTTP/2, part by part, whichever side is the client's.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http_body::Frame;

use super::inbox::Inbox;

/// The next part of what comes over a stream of HTTP/2. It is passed on at the reader's pace: only when it asks there is room for
/// more.
pub(super) fn poll_part(
    inbox: &mut Inbox,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
    match ready!(inbox.poll_data(cx)) {
        Some(Ok(part)) => Poll::Ready(Some(Ok(Frame::data(part)))),
        Some(Err(error)) => Poll::Ready(Some(Err(error))),
        None => {
            let trailers = ready!(inbox.poll_trailers(cx));
            Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)).transpose())
        }
    }
}

/// Ready when there is room for some of what was asked for. None or an error if there will be none: the other side wants nothing
/// any more.
pub(super) fn poll_room(
    stream: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<(), h2::Error>>> {
    while stream.capacity() == 0 {
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(None),
        }
    }
    Poll::Ready(Some(Ok(())))
}
