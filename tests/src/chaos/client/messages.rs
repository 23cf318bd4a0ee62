//! WebSocket messages that come back, one each second.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Duration;

use super::super::fate::{End, Failure};
use super::http1::Http;
use super::life::Life;
use crate::pattern::Pattern;
use crate::websocket::{Message, NotAFrame, Opcode};

/// RFC 6455, 1.2; the key is that of its example.
pub(crate) const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Bytes of a message.
const LENGTH: usize = 200;

/// Any mask: it is for caches between, of which there are none.
const MASK: Option<[u8; 4]> = Some([0x5a, 0xc3, 0x96, 0x0f]);

/// RFC 6455, 7.4.1.
const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;

impl From<NotAFrame> for Failure {
    fn from(_: NotAFrame) -> Self {
        Self::new(End::Wrong, "not a WebSocket frame")
    }
}

/// Messages until it is to end, then the closing handshake.
pub(super) async fn live(life: &Life, stream: TcpStream) -> Result<(), Failure> {
    let mut http = Http::new(stream);
    let head = life.wait(Duration::ZERO, http.get("/messages", UPGRADE)).await?;
    if head.status != 101 {
        return Err(Failure::new(End::Wrong, format!("status {}", head.status)));
    }
    let mut pattern = Pattern::new(life.number);
    life.wait(Duration::ZERO, echo(&mut http, &mut pattern)).await?;
    life.opened();
    life.live().await;
    let mut turns = life.turns();
    loop {
        tokio::select! {
            biased;
            unasked = next(&mut http) => return Err(ended(&unasked?)),
            () = life.last() => {
                life.wait(Duration::ZERO, echo(&mut http, &mut pattern)).await?;
                return life.wait(Duration::ZERO, close(&mut http)).await;
            }
            _ = turns.tick() => life.wait(Duration::ZERO, echo(&mut http, &mut pattern)).await?,
        }
    }
}

/// Sends the next message and has it back.
pub(crate) async fn echo<S: AsyncRead + AsyncWrite + Unpin>(
    http: &mut Http<S>,
    pattern: &mut Pattern,
) -> Result<(), Failure> {
    let sent = Message::binary(pattern.take(LENGTH));
    http.send(&sent.frame(MASK)).await?;
    let back = next(http).await?;
    if back == sent { Ok(()) } else { Err(ended(&back)) }
}

/// The closing handshake.
pub(crate) async fn close<S: AsyncRead + AsyncWrite + Unpin>(http: &mut Http<S>) -> Result<(), Failure> {
    http.send(&Message::close(NORMAL).frame(MASK)).await?;
    match next(http).await? {
        Message { opcode: Opcode::Close, .. } => Ok(()),
        other => Err(ended(&other)),
    }
}

/// The next message. It can be given up.
async fn next<S: AsyncRead + AsyncWrite + Unpin>(http: &mut Http<S>) -> Result<Message, Failure> {
    loop {
        if let Some(message) = Message::parse(&mut http.received)? {
            return Ok(message);
        }
        if http.read().await? == 0 {
            return Err(Failure::new(End::Reset, "closed without a closing handshake"));
        }
    }
}

/// A message that was not asked for: an end in order, or something wrong.
fn ended(message: &Message) -> Failure {
    match (message.opcode, message.close_code()) {
        (Opcode::Close, GOING_AWAY) => Failure::new(End::AtDeadline, "closed with 1001"),
        (Opcode::Close, code) => Failure::new(End::InOrder, format!("closed with {code}")),
        _ => Failure::new(End::Wrong, format!("another message than was sent: {:?}", message.opcode)),
    }
}
