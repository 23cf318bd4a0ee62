//! One direction of a tunnel: bytes from one side to the other, and the frames they belong to.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::frames::Frames;

const BUFFER: usize = 8 * 1024;

/// May be stopped between any two polls: it knows what it has read and not written yet.
pub(super) struct Pump<R, W> {
    from: R,
    to: W,
    buffer: Box<[u8]>,
    /// What is read and not written: from here,
    begin: usize,
    /// to here.
    end: usize,
    frames: Frames,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Pump<R, W> {
    /// What came of it already goes first.
    pub(super) fn new(from: R, to: W, came: &[u8]) -> Self {
        let mut buffer = vec![0; came.len().max(BUFFER)].into_boxed_slice();
        buffer[..came.len()].copy_from_slice(came);
        Self { from, to, buffer, begin: 0, end: came.len(), frames: Frames::default() }
    }

    /// Passes on whatever comes, and then its end.
    pub(super) async fn run(&mut self) -> io::Result<()> {
        loop {
            self.write(self.end - self.begin).await?;
            if !self.read().await? {
                return self.to.shutdown().await;
            }
        }
    }

    /// Passes on the rest of the frame under way, and then these bytes, unless the direction is closed already.
    pub(super) async fn close_with(&mut self, close: &[u8]) -> io::Result<()> {
        loop {
            let rest = self.frames.rest_of_frame(&self.buffer[self.begin..self.end]);
            self.write(rest).await?;
            if self.frames.is_between() {
                break;
            }
            if !self.read().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if !self.frames.is_closed() {
            self.to.write_all(close).await?;
        }
        self.to.flush().await
    }

    /// Takes what comes and passes on nothing, up to a Close or to the end.
    pub(super) async fn wait_for_close(&mut self) -> io::Result<()> {
        loop {
            self.frames.advance(&self.buffer[self.begin..self.end]);
            self.begin = self.end;
            if self.frames.is_closed() || !self.read().await? {
                return Ok(());
            }
        }
    }

    /// Ends the direction.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.to.shutdown().await
    }

    async fn write(&mut self, mut count: usize) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        while count > 0 {
            let written = self.to.write(&self.buffer[self.begin..self.begin + count]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.frames.advance(&self.buffer[self.begin..self.begin + written]);
            self.begin += written;
            count -= written;
        }
        self.to.flush().await
    }

    /// Fills the buffer, which is empty. False at the end.
    async fn read(&mut self) -> io::Result<bool> {
        let read = self.from.read(&mut self.buffer).await?;
        (self.begin, self.end) = (0, read);
        Ok(read > 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::l7::frames::CLOSE_TO_CLIENT;

    #[tokio::test]
    async fn a_close_waits_for_the_end_of_the_frame() {
        let (mut backend, from) = duplex(64);
        let (to, mut client) = duplex(64);
        let mut pump = Pump::new(from, to, &[]);
        // A whole frame, and the first half of one.
        backend.write_all(&[0x82, 1, 7, 0x82, 4, 1, 2]).await.expect("room");
        let mut seen = [0; 7];
        tokio::select! {
            ended = pump.run() => panic!("{ended:?}"),
            read = client.read_exact(&mut seen) => drop(read.expect("all of it")),
        }
        let closing = tokio::spawn(async move { pump.close_with(&CLOSE_TO_CLIENT).await.map(|()| pump) });
        tokio::task::yield_now().await;
        // The other half, and a frame that comes too late.
        backend.write_all(&[3, 4, 0x82, 1, 9]).await.expect("room");
        drop(closing.await.expect("no panic").expect("a border comes"));
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("it ends");
        assert_eq!(rest, [&[3, 4][..], &CLOSE_TO_CLIENT].concat());
    }

    #[tokio::test]
    async fn nothing_follows_a_close() {
        let (mut backend, from) = duplex(64);
        let (to, mut client) = duplex(64);
        let mut pump = Pump::new(from, to, &[]);
        backend.write_all(&CLOSE_TO_CLIENT).await.expect("room");
        let mut seen = [0; 4];
        tokio::select! {
            ended = pump.run() => panic!("{ended:?}"),
            read = client.read_exact(&mut seen) => drop(read.expect("all of it")),
        }
        pump.close_with(&CLOSE_TO_CLIENT).await.expect("it is between frames");
        drop(pump);
        assert_eq!(client.read_to_end(&mut Vec::new()).await.expect("it ends"), 0);
    }
}
