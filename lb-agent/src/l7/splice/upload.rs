//! The same for requests: whoever reads the client's bytes fills the pipe, and whoever sends them to the endpoint empties
//! it. Between the two, the HTTP library passes bytes on that stand for them: which ones, a body's length tells. They have to
//! be written, as zeroes, so they come in pieces, for which a buffer of that length is enough, however much moves at once.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::net::TcpStream;

use super::{Pipes, ROOM, Splice};

/// So many bytes stand in at once. Each piece costs a turn of the library and of whoever waits for it: with a quarter of this, a
/// tenth more in all; zeroes in the processor's second memory cost little more than in its nearest.
const PIECE: usize = 64 * 1024;

/// The way round user space from one client.
#[derive(Default)]
pub(in crate::l7) struct UploadSplice {
    splice: Splice,
    /// How much of the body was left when this began: what comes from there on is no bytes. 0 before.
    since: AtomicU64,
    /// Taken from the client, and nothing stands for it yet.
    untold: AtomicUsize,
    /// Sent to the endpoint before its sender has what stands for it.
    ahead: AtomicUsize,
    /// Waits until the pipe is empty.
    reader: Mutex<Option<Waker>>,
}

impl UploadSplice {
    /// None yet.
    pub(in crate::l7) fn new(pipes: &Arc<Pipes>) -> Self {
        Self { splice: Splice::new(pipes), ..Self::default() }
    }

    /// The rest of a body, so many bytes, goes this way from now on if that is worth it, and if there is a pipe.
    pub(in crate::l7) fn offer(&self, left: u64) {
        self.since.store(0, Ordering::Relaxed);
        self.splice.takes(left);
    }

    /// Whether what is read now goes this way. What was taken has to be told of, though nobody wants it any more: else the
    /// next request would be taken for the rest of this body.
    pub(in crate::l7) fn is_on(&self) -> bool {
        self.splice.is_on() || self.untold.load(Ordering::Relaxed) > 0
    }

    /// For how many bytes of a body, of which so many are left, something is to stand in, at most; 0 at the connection's end.
    pub(in crate::l7) fn poll_fill(
        &self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        most: usize,
        left: u64,
    ) -> Poll<io::Result<usize>> {
        if self.untold.load(Ordering::Relaxed) == 0 {
            if self.splice.is_full() {
                *self.reader() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let taken = ready!(self.splice.poll_fill(cx, from, left))?.len();
            if taken > 0 && self.since.load(Ordering::Relaxed) == 0 {
                self.since.store(left, Ordering::Relaxed);
            }
            self.untold.store(taken, Ordering::Relaxed);
        }
        let told = self.untold.load(Ordering::Relaxed).min(most).min(PIECE);
        self.untold.fetch_sub(told, Ordering::Relaxed);
        Poll::Ready(Ok(told))
    }

    /// Whether the next part stands for what is in the pipe, where so much of the body is left with it.
    pub(in crate::l7) fn stands_in(&self, left: u64) -> bool {
        left <= self.since.load(Ordering::Relaxed)
    }

    /// Sends all that can be sent to an endpoint; how much of a part of this length has gone with it.
    pub(in crate::l7) fn poll_empty(
        &self,
        cx: &mut Context<'_>,
        to: &TcpStream,
        part: usize,
    ) -> Poll<io::Result<usize>> {
        let mut gone = self.ahead.load(Ordering::Relaxed);
        if gone == 0 {
            gone = ready!(self.splice.poll_empty(cx, to, ROOM))?;
            if !self.splice.is_full() {
                self.wake_reader();
            }
        }
        let of_part = gone.min(part);
        self.ahead.store(gone - of_part, Ordering::Relaxed);
        Poll::Ready(Ok(of_part))
    }

    /// Whether more has gone than its sender has heard of: it will hear of that soon, whatever the client does.
    pub(in crate::l7) fn is_ahead(&self) -> bool {
        self.ahead.load(Ordering::Relaxed) > 0
    }

    /// The body is over, or nobody wants the rest of it: what is still read of it is bytes.
    pub(in crate::l7) fn end(&self) {
        self.splice.end();
        self.since.store(0, Ordering::Relaxed);
        self.ahead.store(0, Ordering::Relaxed);
        self.wake_reader();
    }

    fn wake_reader(&self) {
        if let Some(reader) = self.reader().take() {
            reader.wake();
        }
    }

    fn reader(&self) -> MutexGuard<'_, Option<Waker>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
