//! Frames of HTTP/2 as their bytes (RFC 9113 section 4.1), for peers that do what no library does.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

/// The header block of `GET http://a/`, all from the static table but the authority.
pub(crate) const GET: &[u8] = &[0x82, 0x84, 0x86, 0x41, 0x01, b'a'];
/// The same as POST.
pub(crate) const POST: &[u8] = &[0x83, 0x84, 0x86, 0x41, 0x01, b'a'];

/// What a client says first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// As a server, takes the preface, says its settings, and gives the stream of the first request.
pub(crate) async fn first_request(stream: &mut TcpStream) -> u32 {
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.expect("settings");
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.expect("a preface");
    loop {
        let frame = read_frame(stream).await.expect("a frame");
        if frame.kind == HEADERS {
            return frame.stream;
        }
    }
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The next frame.
pub(crate) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let [a, b, c, kind, _, id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).await?;
    Ok(Frame { kind, stream: u32::from_be_bytes(id), payload })
}
