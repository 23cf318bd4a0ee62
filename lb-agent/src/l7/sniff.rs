//! HTTP/1.1 or HTTP/2: what a client without ALPN begins with, and a stream that gives those bytes back.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::coalesce;

/// The HTTP/2 preface's first bytes, which no HTTP/1.1 request has.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// A request's usual size: read at once, it costs no second call.
const FIRST_READ: usize = 2048;

/// Whether the client speaks HTTP/2 with prior knowledge, and what was read to find out.
pub(super) async fn sniff(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(bool, Bytes)> {
    let mut read = BytesMut::with_capacity(FIRST_READ);
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let seen = read.len().min(PREFACE.len());
        if read[..seen] != PREFACE[..seen] || seen == PREFACE.len() {
            return Ok((seen == PREFACE.len() && read.starts_with(PREFACE), read.freeze()));
        }
    }
}

/// A stream that first gives back what was read of it, and tells when it received something.
pub(super) struct Sniffed<T> {
    prefix: Bytes,
    stream: T,
    received: Arc<AtomicBool>,
}

impl<T> Sniffed<T> {
    pub(super) fn new(prefix: Bytes, stream: T, received: Arc<AtomicBool>) -> Self {
        Self { prefix, stream, received }
    }

    /// The stream.
    pub(super) fn get_ref(&self) -> &T {
        &self.stream
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Sniffed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let length = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix[..length]);
            self.prefix.advance(length);
            if self.prefix.is_empty() {
                // Gives the memory back.
                self.prefix = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.received.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Sniffed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        coalesce::poll_write(&mut self.stream, cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sniffed(mut sent: &[u8]) -> Option<bool> {
        sniff(&mut sent).await.ok().map(|(http2, _)| http2)
    }

    #[tokio::test]
    async fn the_first_bytes_tell_the_protocol() {
        assert_eq!(sniffed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await, Some(true));
        for sent in ["G", "GET / HTTP/1.1\r\n", "PUT / HTTP/1.1\r\n", "PROPFIND /", "PRI / HTTP/1.1\r\n"] {
            assert_eq!(sniffed(sent.as_bytes()).await, Some(false), "{sent}");
        }
        assert_eq!(sniffed(b"PRI *").await, None, "it ended too early to tell");
    }

    #[tokio::test]
    async fn what_was_read_comes_first() {
        let mut stream = Sniffed::new(Bytes::from_static(b"GET "), &b"/ HTTP"[..], Arc::default());
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.expect("reads from memory");
        assert_eq!(all, b"GET / HTTP");
    }
}
