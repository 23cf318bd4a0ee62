//! The same for requests: whoever reads the client's bytes fills the pipe, and whoever sends them to the endpoint empties
//! it. Between the two, the HTTP library passes bytes on that stand for them: which ones, a body's length tells.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::net::TcpStream;

use super::{Pipes, Splice};
use crate::l7::guard::Passage;

/// The way round user space from one client.
#[derive(Default)]
pub(in crate::l7) struct UploadSplice {
    splice: Splice,
    /// How much of the body was left when this began: what comes from there on is no bytes. 0 before.
    since: AtomicU64,
    /// Waits until the pipe is empty.
    reader: Mutex<Option<Waker>>,
}

impl UploadSplice {
    /// None yet.
    pub(in crate::l7) fn new(pipes: &Arc<Pipes>) -> Self {
        Self { splice: Splice::new(pipes), ..Self::default() }
    }

    /// The rest of a body, so many bytes, goes this way from now on if that is worth it, and if there is a pipe.
    pub(in crate::l7) fn offer(&self, left: u64) -> bool {
        self.since.store(0, Ordering::Relaxed);
        self.splice.takes(left)
    }

    /// Whether what is read now goes this way.
    pub(in crate::l7) fn is_on(&self) -> bool {
        self.splice.is_on()
    }

    /// Takes so many bytes of a body at most, of which so many are left; how many, 0 at the connection's end.
    pub(in crate::l7) fn poll_fill(
        &self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        most: usize,
        left: u64,
    ) -> Poll<io::Result<usize>> {
        if self.splice.is_full() {
            *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let part = ready!(self.splice.poll_fill(cx, from, left.min(most as u64)))?;
        if !part.is_empty() && self.since.load(Ordering::Relaxed) == 0 {
            self.since.store(left, Ordering::Relaxed);
        }
        Poll::Ready(Ok(part.len()))
    }

    /// Whether the next part stands for what is in the pipe, where so much of the body is left with it.
    pub(in crate::l7) fn stands_in(&self, left: u64) -> bool {
        left <= self.since.load(Ordering::Relaxed)
    }

    /// Sends so much to an endpoint.
    pub(in crate::l7) fn poll_empty(
        &self,
        cx: &mut Context<'_>,
        to: &TcpStream,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(self.splice.poll_empty(cx, to, most))?;
        if !self.splice.is_full()
            && let Some(reader) = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            reader.wake();
        }
        Poll::Ready(Ok(sent))
    }

    /// The body is over, or nobody wants the rest of it: what is still read of it is bytes.
    pub(in crate::l7) fn end(&self) {
        self.splice.end();
        self.since.store(0, Ordering::Relaxed);
        if let Some(reader) = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take() {
            reader.wake();
        }
    }
}

/// A request's body may go this way. Dropped with it.
pub(in crate::l7) struct UploadWay(Arc<Passage>);

impl UploadWay {
    /// Of this connection, on which no other request is under way.
    pub(in crate::l7) fn new(passage: &Arc<Passage>) -> Self {
        Self(passage.clone())
    }

    /// The way itself.
    pub(in crate::l7) fn splice(&self) -> &UploadSplice {
        &self.0.upload
    }
}

impl Drop for UploadWay {
    fn drop(&mut self) {
        self.splice().end();
    }
}
