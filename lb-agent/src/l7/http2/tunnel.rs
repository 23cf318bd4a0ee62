//! A stream of HTTP/2 that has become a tunnel (RFC 8441): bytes both ways, by its flow control.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::super::inbox::Inbox;
use super::super::parts::poll_room;

/// Where the tunnel is waited for that a CONNECT asks for.
pub(in crate::l7) struct Opening(oneshot::Receiver<StreamTunnel>);

/// What makes it one once the response has said so.
pub(super) struct Opener {
    opened: oneshot::Sender<StreamTunnel>,
    incoming: Inbox,
}

impl Opener {
    /// Of a CONNECT on whose stream this comes.
    pub(super) fn new(incoming: Inbox) -> (Self, Opening) {
        let (opened, opening) = oneshot::channel();
        (Self { opened, incoming }, Opening(opening))
    }

    /// The response was sent, and this is what may follow it.
    pub(super) fn open(self, outgoing: SendStream<Bytes>) {
        let Self { opened, incoming } = self;
        // Nobody waits for it where the client has gone.
        _ = opened.send(StreamTunnel { incoming, outgoing, part: Bytes::new() });
    }
}

impl Opening {
    /// The tunnel; none if the response did not open it.
    pub(in crate::l7) async fn wait(self) -> Option<StreamTunnel> {
        self.0.await.ok()
    }
}

/// Dropped before its end, the stream is reset.
pub(in crate::l7) struct StreamTunnel {
    incoming: Inbox,
    outgoing: SendStream<Bytes>,
    /// What came and was not read.
    part: Bytes,
}

impl AsyncRead for StreamTunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.part.is_empty() {
            match ready!(self.incoming.poll_data(cx)) {
                Some(Ok(part)) => self.part = part,
                // A client that has closed its WebSocket may take its stream back.
                Some(Err(error)) if is_over(error.reason()) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(failure(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.part.len().min(buf.remaining());
        buf.put_slice(&self.part[..length]);
        self.part.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamTunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.outgoing.reserve_capacity(data.len());
        match ready!(poll_room(&mut self.outgoing, cx)) {
            Some(Ok(())) => {}
            Some(Err(error)) => return Poll::Ready(Err(failure(error))),
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
        let length = self.outgoing.capacity().min(data.len());
        let part = Bytes::copy_from_slice(&data[..length]);
        Poll::Ready(self.outgoing.send_data(part, false).map(|()| length).map_err(failure))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.outgoing.send_data(Bytes::new(), true).map_err(failure))
    }
}

fn is_over(reason: Option<Reason>) -> bool {
    matches!(reason, Some(Reason::NO_ERROR | Reason::CANCEL))
}

fn failure(error: h2::Error) -> io::Error {
    match error.reason() {
        Some(Reason::NO_ERROR | Reason::CANCEL | Reason::STREAM_CLOSED) => {
            io::Error::new(io::ErrorKind::BrokenPipe, error)
        }
        _ => io::Error::other(error),
    }
}
