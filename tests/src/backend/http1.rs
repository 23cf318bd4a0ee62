//! HTTP/1.1, read just as far as is needed to answer.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::websocket::Message;

/// Bytes of a body, unless the path asks for others.
const BODY: usize = 128;

const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Answers until the other side leaves. How it does is its own business.
pub(super) async fn answer(stream: TcpStream) {
    let mut backend = Backend { stream, received: BytesMut::with_capacity(64 * 1024), body: Vec::new() };
    drop(backend.answer().await);
}

struct Backend {
    stream: TcpStream,
    received: BytesMut,
    /// The last response, head and body: the next one is mostly the same.
    body: Vec<u8>,
}

/// What a request's head says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asked {
    /// Bytes of the body that comes with it.
    brings: usize,
    /// Bytes that it asks for.
    wants: usize,
    upgrades: bool,
}

impl Backend {
    async fn answer(&mut self) -> io::Result<()> {
        let mut answered = None;
        while let Some(asked) = self.head().await? {
            if asked.upgrades {
                return self.echo().await;
            }
            self.skip(asked.brings).await?;
            if answered != Some(asked.wants) {
                self.body = response(asked.wants);
                answered = Some(asked.wants);
            }
            self.stream.write_all(&self.body).await?;
        }
        Ok(())
    }

    /// The next head; `None` if the other side has left.
    async fn head(&mut self) -> io::Result<Option<Asked>> {
        loop {
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                let asked = Asked::of(&self.received[..end]);
                self.received.advance(end + 4);
                return Ok(Some(asked));
            }
            if self.more().await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn skip(&mut self, mut bytes: usize) -> io::Result<()> {
        loop {
            let here = bytes.min(self.received.len());
            self.received.advance(here);
            bytes -= here;
            if bytes == 0 {
                return Ok(());
            }
            if self.more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn echo(&mut self) -> io::Result<()> {
        self.stream.write_all(UPGRADED).await?;
        loop {
            while let Some(message) =
                Message::parse(&mut self.received).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?
            {
                self.stream.write_all(&message.frame(None)).await?;
            }
            if self.more().await? == 0 {
                return Ok(());
            }
        }
    }

    async fn more(&mut self) -> io::Result<usize> {
        self.received.reserve(16 * 1024);
        self.stream.read_buf(&mut self.received).await
    }
}

impl Asked {
    fn of(head: &[u8]) -> Self {
        let mut lines = head.split(|byte| *byte == b'\n');
        let target =
            lines.next().and_then(|line| line.split(|byte| *byte == b' ').nth(1)).unwrap_or_default();
        let wants = target.strip_prefix(b"/bytes/").map_or(BODY, |number| decimal(number).unwrap_or(BODY));
        let mut asked = Self { brings: 0, wants, upgrades: false };
        for line in lines {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let value = line[colon + 1..].trim_ascii();
            if line[..colon].eq_ignore_ascii_case(b"content-length") {
                asked.brings = decimal(value).unwrap_or_default();
            } else if line[..colon].eq_ignore_ascii_case(b"upgrade") {
                asked.upgrades = value.eq_ignore_ascii_case(b"websocket");
            }
        }
        asked
    }
}

fn decimal(text: &[u8]) -> Option<usize> {
    str::from_utf8(text).ok()?.parse().ok()
}

fn response(length: usize) -> Vec<u8> {
    let mut response =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n")
            .into_bytes();
    response.extend(b"0123456789abcdef".iter().cycle().take(length));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_what_comes_and_what_is_asked_for() {
        let asked = |brings, wants, upgrades| Asked { brings, wants, upgrades };
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: a", asked(0, 128, false)),
            ("GET /bytes/65536 HTTP/1.1\r\nHost: a", asked(0, 65_536, false)),
            ("POST / HTTP/1.1\r\ncontent-length: 17\r\nHost: a", asked(17, 128, false)),
            ("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: WebSocket", asked(0, 128, true)),
        ] {
            assert_eq!(Asked::of(head.as_bytes()), expected, "{head}");
        }
    }
}
