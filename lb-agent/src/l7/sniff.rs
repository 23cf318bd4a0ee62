//! HTTP/1.1 or HTTP/2: what a client without ALPN begins with.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The HTTP/2 preface's first bytes, which no HTTP/1.1 request has.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// A request's usual size: read at once, it costs no second call.
const FIRST_READ: usize = 2048;

/// Whether the client speaks HTTP/2 with prior knowledge; what is read to find out is added to `read`.
pub(super) async fn sniff(stream: &mut (impl AsyncRead + Unpin), read: &mut BytesMut) -> io::Result<bool> {
    read.reserve(FIRST_READ);
    loop {
        if stream.read_buf(read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let seen = read.len().min(PREFACE.len());
        if read[..seen] != PREFACE[..seen] || seen == PREFACE.len() {
            return Ok(read.starts_with(PREFACE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sniffed(mut sent: &[u8]) -> Option<bool> {
        sniff(&mut sent, &mut BytesMut::new()).await.ok()
    }

    #[tokio::test]
    async fn the_first_bytes_tell_the_protocol() {
        assert_eq!(sniffed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await, Some(true));
        for sent in ["G", "GET / HTTP/1.1\r\n", "PUT / HTTP/1.1\r\n", "PROPFIND /", "PRI / HTTP/1.1\r\n"] {
            assert_eq!(sniffed(sent.as_bytes()).await, Some(false), "{sent}");
        }
        assert_eq!(sniffed(b"PRI *").await, None, "it ended too early to tell");
    }
}
