//! HTTP/1.1 as the clients speak it: one request at a time, bodies by Content-Length.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::super::fate::{End, Failure};
use crate::lab::site::SHOP;

/// A head, lines and all, is never longer.
const LONGEST_HEAD: usize = 16 * 1024;

/// Of a body that is not kept, so much is read at once.
const PART: usize = 64 * 1024;

/// A connection.
#[derive(Debug)]
pub(crate) struct Http<S> {
    pub(crate) stream: S,
    pub(crate) received: BytesMut,
}

/// What an answer's head says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) length: u64,
    /// The other side will close after this answer.
    pub(crate) closes: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, received: BytesMut::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// A request without a body.
    pub(crate) async fn get(&mut self, path: &str, more: &str) -> Result<Head, Failure> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: {SHOP}\r\n{more}\r\n").as_bytes()).await?;
        self.head().await
    }

    /// A request and its whole answer, which must be a pod's.
    pub(crate) async fn exchange(&mut self, more: &str) -> Result<Head, Failure> {
        let head = self.get("/", more).await?;
        let body = self.body(head.length).await?;
        if head.status != 200 || !body.starts_with(b"pod: ") {
            let text = String::from_utf8_lossy(&body).into_owned();
            return Err(Failure::new(End::Wrong, format!("status {}: {}", head.status, text.trim_end())));
        }
        Ok(head)
    }

    pub(crate) async fn head(&mut self) -> Result<Head, Failure> {
        loop {
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.received.split_to(end + 4);
                return Head::parse(&head).ok_or_else(|| not_http(&head));
            }
            if self.received.len() > LONGEST_HEAD {
                return Err(not_http(&self.received));
            }
            self.more().await?;
        }
    }

    pub(crate) async fn body(&mut self, length: u64) -> Result<BytesMut, Failure> {
        let length = length as usize;
        while self.received.len() < length {
            self.more().await?;
        }
        Ok(self.received.split_to(length))
    }

    /// Takes a body that nobody looks at.
    pub(crate) async fn skip(&mut self, mut length: u64) -> Result<(), Failure> {
        loop {
            let here = self.received.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            self.received.advance(here);
            length -= here as u64;
            if length == 0 {
                return Ok(());
            }
            self.received.reserve(PART);
            self.more().await?;
        }
    }

    /// What comes next, at least one byte of it.
    pub(crate) async fn some(&mut self) -> Result<BytesMut, Failure> {
        if self.received.is_empty() {
            self.more().await?;
        }
        Ok(self.received.split())
    }

    /// Waits, with nothing under way, for an end that the other side makes. It can be given up.
    pub(crate) async fn silence(&mut self) -> Failure {
        match self.read().await {
            Ok(0) => Failure::new(End::InOrder, "closed while nothing was under way"),
            Ok(_) => Failure::new(End::Wrong, format!("unasked: {:?}", beginning(&self.received))),
            Err(error) => error.into(),
        }
    }

    /// What is there; 0 is the end. It can be given up.
    pub(crate) async fn read(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.received).await
    }

    async fn more(&mut self) -> Result<(), Failure> {
        match self.read().await? {
            0 => Err(Failure::new(End::Reset, "closed in the middle")),
            _ => Ok(()),
        }
    }
}

impl Head {
    /// A head without a length has no body: nobody here sends one that ends with the connection.
    fn parse(head: &[u8]) -> Option<Self> {
        let mut lines = str::from_utf8(head).ok()?.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let mut parsed = Self { status, length: 0, closes: false };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                parsed.length = value.parse().ok()?;
            } else if name.eq_ignore_ascii_case("connection") {
                parsed.closes |= value.eq_ignore_ascii_case("close");
            }
        }
        Some(parsed)
    }
}

fn not_http(bytes: &[u8]) -> Failure {
    Failure::new(End::Wrong, format!("not HTTP/1.1: {:?}", beginning(bytes)))
}

fn beginning(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
    }

    /// An exchange with a server that says this, in two parts, and closes.
    fn answered(text: &str) -> Result<Head, Failure> {
        run(async {
            let (ours, mut theirs) = tokio::io::duplex(4_096);
            let (first, second) = text.as_bytes().split_at(text.len() / 2);
            let server = async {
                theirs.write_all(first).await.expect("room");
                theirs.write_all(second).await.expect("room");
                theirs.shutdown().await.expect("an end");
                let mut request = Vec::new();
                let _ = theirs.read_buf(&mut request).await;
            };
            let mut http = Http::new(ours);
            let (answer, ()) = tokio::join!(http.exchange(""), server);
            answer
        })
    }

    #[test]
    fn answers_are_told_from_ends_and_from_what_is_wrong() {
        let pod = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\npod: shop-1";
        assert_eq!(answered(pod), Ok(Head { status: 200, length: 11, closes: false }));
        let closing = pod.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
        assert_eq!(answered(&closing), Ok(Head { status: 200, length: 11, closes: true }));
        let end = |text: &str| answered(text).expect_err("no answer").end;
        assert_eq!(end(&pod[..pod.len() - 1]), End::Reset);
        assert_eq!(end(""), End::Reset);
        assert_eq!(end(&pod.replace("200 OK", "503 No")), End::Wrong);
        assert_eq!(end("SSH-2.0-OpenSSH\r\n\r\n"), End::Wrong);
    }

    #[test]
    fn an_end_with_nothing_under_way_is_in_order() {
        let failure = run(async {
            let (ours, theirs) = tokio::io::duplex(64);
            drop(theirs);
            Http::new(ours).silence().await
        });
        assert_eq!(failure.end, End::InOrder);
    }
}
