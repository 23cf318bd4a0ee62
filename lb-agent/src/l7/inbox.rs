//! What comes over the streams of an HTTP/2 connection, until it is taken. Flow control counts the bytes of a body alone: who sends
//! few in each frame could have the HTTP library hold a hundred times as much for a reader that waits. So what came is
//! gathered here, frame upon frame. Its room is given back only when it is taken.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::{io, mem};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;
use slab::Slab;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much is read of a connection before what came is gathered.
const AHEAD: usize = 64 * 1024;

/// What the HTTP library counts of a frame's weight until it is taken: 256 bytes, less what is in it. What nobody takes is
/// gathered the second time at the latest, so that it never comes to this; the library's own default would end a connection for a
/// few readers that wait.
pub(super) const FRAMES_AHEAD: usize = AHEAD / 10 * 256 * 3;

/// Up to here a part is joined to those before it, to parts of this size.
const SMALL: usize = 1024;
const JOINED: usize = 16 * 1024;

/// Those of one connection.
#[derive(Default)]
pub(super) struct Inboxes {
    open: RefCell<Slab<Rc<RefCell<Kept>>>>,
    /// Bytes read of the connection since they were gathered last.
    read: Cell<usize>,
}

impl Inboxes {
    /// That of one stream.
    pub(super) fn open(self: &Rc<Self>, stream: RecvStream) -> Inbox {
        if stream.is_end_stream() {
            return Inbox(None);
        }
        let kept = Rc::new(RefCell::new(Kept::new(stream)));
        let key = self.open.borrow_mut().insert(kept.clone());
        Inbox(Some(Open { kept, key, all: self.clone() }))
    }

    /// If it is time to: gathers what came for those who do not take it. Whoever reads the connection lets the others have their
    /// turn then.
    pub(super) fn gather(&self) -> bool {
        let is_due = self.read.get() >= AHEAD;
        if is_due {
            self.read.set(0);
            let open = self.open.borrow();
            let readers: Vec<_> = open.iter().filter_map(|(_, kept)| kept.borrow_mut().gather()).collect();
            drop(open);
            readers.into_iter().for_each(Waker::wake);
        }
        is_due
    }
}

/// What comes over one stream.
pub(super) struct Inbox(Option<Open>);

struct Open {
    kept: Rc<RefCell<Kept>>,
    key: usize,
    all: Rc<Inboxes>,
}

impl Drop for Open {
    fn drop(&mut self) {
        // Named, so that it is dropped after the borrow has ended.
        let _kept = self.all.open.borrow_mut().try_remove(self.key);
    }
}

impl Inbox {
    /// The next part of the body; none after the last one. Who asks is done with the one before: there is room for as much again.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let Some(open) = &self.0 else { return Poll::Ready(None) };
        open.kept.borrow_mut().poll_data(cx)
    }

    /// What follows it.
    pub(super) fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        let Some(open) = &self.0 else { return Poll::Ready(Ok(None)) };
        open.kept.borrow_mut().stream.poll_trailers(cx)
    }

    /// Whether nothing is to be taken any more.
    pub(super) fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|open| open.kept.borrow().is_end_stream())
    }
}

struct Kept {
    stream: RecvStream,
    parts: VecDeque<Bytes>,
    /// Bytes of the part that was taken last.
    taken: usize,
    /// How many of them hold no more memory than they have bytes.
    own: usize,
    /// The small ones after them.
    small: BytesMut,
    /// How it broke off after that.
    error: Option<h2::Error>,
    /// Who waits for more.
    reader: Option<Waker>,
    /// Whether it has been asked for since parts were gathered last.
    is_read: bool,
}

impl Kept {
    fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            parts: VecDeque::new(),
            taken: 0,
            own: 0,
            small: BytesMut::new(),
            error: None,
            reader: None,
            is_read: true,
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        self.release();
        let data = match self.next().map(Ok).or_else(|| self.error.take().map(Err)) {
            Some(kept) => Poll::Ready(Some(kept)),
            None => self.stream.poll_data(cx),
        };
        if let Poll::Ready(Some(Ok(part))) = &data {
            self.taken = part.len();
            // Who has all of it asks no more, and the connection's room is that of other streams, too.
            if self.is_end_stream() {
                self.release();
            }
        }
        // Who takes a little now and then has others gather the rest.
        self.is_read = data.is_pending();
        if data.is_pending() {
            match &mut self.reader {
                Some(reader) => reader.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        data
    }

    /// Gives back the room of what was taken.
    fn release(&mut self) {
        if self.taken > 0 {
            // If it cannot be given, the stream is no more.
            _ = self.stream.flow_control().release_capacity(mem::take(&mut self.taken));
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        let first = self.parts.pop_front();
        self.own = self.own.saturating_sub(1);
        first.or_else(|| (!self.small.is_empty()).then(|| self.small.split().freeze()))
    }

    /// Takes all that came, if nobody else does; who is to be told so.
    fn gather(&mut self) -> Option<Waker> {
        if mem::take(&mut self.is_read) {
            return None;
        }
        self.compact();
        let mut has_come = false;
        loop {
            // Who waits still hears of what comes later.
            let mut cx = Context::from_waker(self.reader.as_ref().unwrap_or(Waker::noop()));
            let Poll::Ready(Some(part)) = self.stream.poll_data(&mut cx) else { break };
            has_come = true;
            match part {
                Ok(part) => self.keep(part),
                Err(error) => {
                    self.error = Some(error);
                    break;
                }
            }
        }
        self.reader.take_if(|_| has_come)
    }

    fn keep(&mut self, part: Bytes) {
        let is_small = part.len() <= SMALL;
        if !self.small.is_empty() && (!is_small || self.small.len() + part.len() > JOINED) {
            self.parts.push_back(mem::take(&mut self.small).freeze());
        }
        if is_small {
            self.small.extend_from_slice(&part);
        } else {
            self.parts.push_back(part);
        }
    }

    /// What was here when parts were gathered last waits for its reader, and may do so for long. It is cut out of the buffer that it was
    /// read into, which is larger, or holds what came for others.
    fn compact(&mut self) {
        self.parts.iter_mut().skip(self.own).for_each(|part| *part = Bytes::copy_from_slice(part));
        self.own = self.parts.len();
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty() && self.small.is_empty() && self.error.is_none() && self.stream.is_end_stream()
    }
}

impl Drop for Kept {
    /// What nobody wants any more takes no room of the connection, for which the stream may be there yet: its response goes on.
    fn drop(&mut self) {
        self.taken += self.parts.iter().map(Bytes::len).sum::<usize>() + self.small.len();
        self.release();
    }
}

/// A connection that is read no further than what came is gathered: then it seems to have nothing, without waking anybody.
pub(super) struct Ahead<T> {
    stream: T,
    inboxes: Rc<Inboxes>,
}

impl<T> Ahead<T> {
    /// That of these.
    pub(super) fn new(stream: T, inboxes: &Rc<Inboxes>) -> Self {
        Self { stream, inboxes: inboxes.clone() }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Ahead<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.inboxes.read.get();
        if read >= AHEAD {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.inboxes.read.set(read + buf.filled().len() - before);
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Ahead<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
