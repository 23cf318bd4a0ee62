//! Slow downloads and uploads over HTTP/1.1, each byte checked.

use tokio::net::TcpStream;
use tokio::time::Duration;

use super::super::fate::{End, Failure};
use super::http1::Http;
use super::life::Life;
use crate::lab::site::SHOP;
use crate::lab::streams::PACE;
use crate::pattern::{Mismatch, Pattern};

/// How much, and how fast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stream {
    /// Bytes in all.
    pub(super) bytes: u64,
    /// Bytes a second.
    pub(super) rate: u64,
}

/// Parts that must still come at the end: the first may be on its way already, and it is our word that it came which
/// goes astray.
pub(super) const PROOFS: u8 = 2;

/// Bytes that are sent at a time.
const PIECE: usize = 16 * 1024;

impl From<Mismatch> for Failure {
    fn from(wrong: Mismatch) -> Self {
        Self::new(End::Wrong, format!("wrong byte at {}", wrong.at))
    }
}

/// Receives until it is to end, or to the last byte.
pub(super) async fn download(life: &Life, stream: TcpStream, what: Stream) -> Result<(), Failure> {
    let mut http = Http::new(stream);
    let path = format!("/pattern/{}/{}/{}", life.number, what.bytes, what.rate);
    let head = life.wait(Duration::ZERO, http.get(&path, "")).await?;
    if head.status != 200 || head.length != what.bytes {
        return Err(Failure::new(End::Wrong, format!("{head:?}")));
    }
    let mut pattern = Pattern::new(life.number);
    let mut proofs = 0;
    while pattern.at() < what.bytes && proofs < PROOFS {
        proofs += u8::from(life.is_last());
        let part = life.wait(PACE, http.some()).await?;
        if pattern.at() == 0 {
            life.opened();
        }
        pattern.check(&part)?;
    }
    Ok(())
}

/// Sends until it is to end, or to the last byte, and hears from the pod that each was right.
pub(super) async fn upload(life: &Life, stream: TcpStream, what: Stream) -> Result<(), Failure> {
    let mut http = Http::new(stream);
    let path = format!("/check/{}", life.number);
    let head = format!("POST {path} HTTP/1.1\r\nHost: {SHOP}\r\nTransfer-Encoding: chunked\r\n\r\n");
    life.wait(Duration::ZERO, http.send(head.as_bytes())).await?;
    let mut pattern = Pattern::new(life.number);
    let part = what.rate * PACE.as_millis() as u64 / 1_000;
    let mut turns = tokio::time::interval(PACE);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while pattern.at() < what.bytes && !life.is_last() {
        tokio::select! {
            failure = http.silence() => {
                // No answer is due before the last byte.
                return Err(Failure { end: failure.end.max(End::Reset), ..failure });
            }
            _ = turns.tick() => {}
        }
        let bytes = pattern.take(part.min(what.bytes - pattern.at()) as usize);
        // Each by itself: how long a long part takes says how fast the way is, and nothing of stalls.
        for piece in bytes.chunks(PIECE) {
            life.wait(Duration::ZERO, http.send(&chunk(piece))).await?;
        }
        if pattern.at() == part {
            life.opened();
            life.live().await;
        }
    }
    life.wait(Duration::ZERO, http.send(b"0\r\n\r\n")).await?;
    let head = life.wait(Duration::ZERO, http.head()).await?;
    let body = life.wait(Duration::ZERO, http.body(head.length)).await?;
    if head.status != 200 || body != format!("{}\n", pattern.at()) {
        return Err(Failure::new(End::Wrong, format!("status {}: {body:?}", head.status)));
    }
    Ok(())
}

/// RFC 9112, 7.1.
fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}
