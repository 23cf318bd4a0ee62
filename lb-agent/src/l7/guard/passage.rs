//! What a connection's two sides tell each other: the one that reads its bytes, and the one that serves its requests.
//! They run on one thread, but HTTP libraries want a stream that could be sent to another.

use std::mem;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use super::fault::Fault;
use super::heads::Refused;
use crate::l7::splice::{Pipes, Splice, UploadSplice};

/// Shared by a connection's stream and its `Client`.
#[derive(Default)]
pub(in crate::l7) struct Passage {
    received: AtomicBool,
    is_busy: AtomicBool,
    is_tunnel: AtomicBool,
    is_last: AtomicBool,
    /// 0 for none.
    unfinished: AtomicU64,
    written: AtomicU64,
    is_blocked: AtomicBool,
    is_stopped: AtomicBool,
    has_refused: AtomicBool,
    held: Mutex<Held>,
    /// For long bodies of responses.
    pub(in crate::l7) splice: Splice,
    /// For those of requests.
    pub(in crate::l7) upload: UploadSplice,
}

#[derive(Default)]
struct Held {
    fault: Option<Fault>,
    reader: Option<Waker>,
    refused: Refused,
}

impl Passage {
    /// Of a connection that has just been accepted.
    pub(in crate::l7) fn new(pipes: &Arc<Pipes>) -> Self {
        Self { splice: Splice::new(pipes), upload: UploadSplice::new(pipes), ..Self::default() }
    }

    /// Something came in.
    pub(super) fn receive(&self) {
        self.received.store(true, Ordering::Relaxed);
    }

    /// Whether something came in since this was asked last.
    pub(in crate::l7) fn has_received(&self) -> bool {
        self.received.swap(false, Ordering::Relaxed)
    }

    /// With HTTP/2, the number of what the client has begun to send and not ended.
    pub(super) fn leave(&self, unfinished: Option<NonZeroU64>) {
        self.unfinished.store(unfinished.map_or(0, NonZeroU64::get), Ordering::Relaxed);
    }

    /// With HTTP/2, the number of the head that the client has begun to send and not ended.
    pub(in crate::l7) fn unfinished(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.unfinished.load(Ordering::Relaxed))
    }

    /// So much was written; or nothing could be, for the client does not read.
    pub(super) fn wrote(&self, bytes: Option<usize>) {
        self.is_blocked.store(bytes.is_none(), Ordering::Relaxed);
        self.written.fetch_add(bytes.unwrap_or_default() as u64, Ordering::Relaxed);
    }

    /// Bytes that were written.
    pub(in crate::l7) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether bytes wait for the client to read.
    pub(in crate::l7) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }

    /// A request is under way.
    pub(in crate::l7) fn begin(&self) {
        self.is_busy.store(true, Ordering::Relaxed);
    }

    /// None is under way any more: a reader that waits for that goes on.
    pub(in crate::l7) fn rest(&self) {
        self.is_busy.store(false, Ordering::Relaxed);
        self.end_splice();
        self.received.store(false, Ordering::Relaxed);
        // Nobody waits before reading has ended: nearly always there is no lock to take.
        if self.is_stopped.load(Ordering::Relaxed)
            && let Some(reader) = self.held().reader.take()
        {
            reader.wake();
        }
    }

    /// The way round user space is given up once the last response is over and all of it is written.
    pub(super) fn end_splice(&self) {
        if self.splice.is_on() && !self.splice.is_full() && !self.is_busy.load(Ordering::Relaxed) {
            self.splice.end();
        }
    }

    /// With HTTP/1, the connection is closed after the response to the request under way, and nothing is read before that.
    pub(in crate::l7) fn ends_after_this(&self) {
        self.is_last.store(true, Ordering::Relaxed);
    }

    /// Whether what is written now ends the connection: there is no more of the last response to come.
    pub(super) fn writes_last(&self) -> bool {
        self.is_last.load(Ordering::Relaxed) && !self.is_busy.load(Ordering::Relaxed)
    }

    /// From here on the bytes are no HTTP.
    pub(in crate::l7) fn become_tunnel(&self) {
        self.is_tunnel.store(true, Ordering::Relaxed);
    }

    /// Whether the bytes are no HTTP.
    pub(super) fn is_tunnel(&self) -> bool {
        self.is_tunnel.load(Ordering::Relaxed)
    }

    /// The HTTP library refused this by itself.
    pub(super) fn refuse(&self, refused: Refused) {
        let mut held = self.held();
        held.refused = held.refused.and(refused);
        self.has_refused.store(true, Ordering::Relaxed);
    }

    /// What it refused since this was asked last.
    pub(in crate::l7) fn refused(&self) -> Refused {
        if !self.has_refused.load(Ordering::Relaxed) {
            return Refused::default();
        }
        self.has_refused.store(false, Ordering::Relaxed);
        mem::take(&mut self.held().refused)
    }

    /// Why reading has ended, if it has.
    pub(in crate::l7) fn fault(&self) -> Option<Fault> {
        self.held().fault
    }

    /// Reading ends.
    pub(super) fn stop(&self, fault: Fault) {
        self.held().fault = Some(fault);
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Whether a request is under way; if so, the reader is woken when none is.
    pub(super) fn is_busy(&self, cx: &Context<'_>) -> bool {
        let is_busy = self.is_busy.load(Ordering::Relaxed);
        if is_busy {
            self.held().reader = Some(cx.waker().clone());
        }
        is_busy
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way round user space that a request's body may go. Dropped with it.
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
