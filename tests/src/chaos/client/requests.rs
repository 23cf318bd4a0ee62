//! Connections for requests: idle ones, and those with a request each second.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Duration;

use super::super::fate::{End, Failure};
use super::http1::Http;
use super::life::Life;

/// Requests on one connection until it is to end; with `pauses`, only the first and the last.
pub(super) async fn live<S: AsyncRead + AsyncWrite + Unpin>(
    life: &Life,
    stream: S,
    pauses: bool,
) -> Result<(), Failure> {
    let mut http = Http::new(stream);
    life.wait(Duration::ZERO, http.exchange("")).await?;
    life.opened();
    life.live().await;
    let mut turns = life.turns();
    loop {
        let is_last = tokio::select! {
            biased;
            failure = http.silence() => return Err(failure),
            () = life.last() => true,
            _ = turns.tick(), if !pauses => false,
        };
        let head = life.wait(Duration::ZERO, http.exchange("")).await?;
        if is_last {
            return Ok(());
        }
        if head.closes {
            return Err(Failure::new(End::InOrder, "Connection: close"));
        }
    }
}
