//! Long bodies from socket to socket by splice(2), over a pipe: the kernel moves their pages, and they never come to user
//! space. In what the HTTP library passes on, bytes that nobody reads stand for them; where the library writes those,
//! the pipe is emptied instead. Both connections are in the clear, and the body's length is known.

mod upload;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

pub(super) use self::upload::UploadSplice;
use crate::metrics::UpstreamMetrics;

/// What a pipe takes at once, and what a client that does not read can hold of the kernel's memory beside its socket.
const ROOM: usize = 256 * 1024;

/// What is less is copied: that costs less than a pipe.
const LEAST: u64 = 128 * 1024;

/// Pipes of one worker, of two descriptors each. Who gets none copies.
const MOST_PIPES: usize = 64;

/// They stand for what waits in a pipe.
static STAND_INS: [u8; ROOM] = [0; ROOM];

/// A worker's pipes that are not in use.
#[derive(Default)]
pub(super) struct Pipes {
    idle: Mutex<Vec<Pipe>>,
    made: AtomicUsize,
    /// Counts what goes this way.
    metrics: Option<UpstreamMetrics>,
}

struct Pipe {
    from: OwnedFd,
    into: OwnedFd,
}

/// The way round user space to one client.
#[derive(Default)]
pub(super) struct Splice {
    pipes: Arc<Pipes>,
    pipe: Mutex<Option<Pipe>>,
    /// Whether there is one: asked for each write.
    is_on: AtomicBool,
    /// Bytes in it.
    held: AtomicUsize,
}

impl Splice {
    /// None yet.
    pub(super) fn new(pipes: &Arc<Pipes>) -> Self {
        let (pipe, is_on, held) = (Mutex::default(), AtomicBool::default(), AtomicUsize::default());
        Self { pipes: pipes.clone(), pipe, is_on, held }
    }

    /// Whether the rest of a body, so many bytes, is to go this way.
    pub(super) fn takes(&self, left: u64) -> bool {
        self.is_on() || (left >= LEAST && self.begin())
    }

    fn begin(&self) -> bool {
        let pipe = self.pipes.take();
        let is_on = pipe.is_some();
        *self.pipe() = pipe;
        self.is_on.store(is_on, Ordering::Relaxed);
        is_on
    }

    /// Whether it is in use.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Whether there is something in it that is to be written first.
    pub(super) fn is_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) > 0
    }

    /// Takes what there is of so many bytes; what stands for them, or nothing at the connection's end. Only while it is
    /// empty: else nobody could tell who is waited for.
    pub(super) fn poll_fill(
        &self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        left: u64,
    ) -> Poll<io::Result<Bytes>> {
        let most = usize::try_from(left).map_or(ROOM, |left| left.min(ROOM));
        let pipe = self.pipe();
        let Some(Pipe { into, .. }) = &*pipe else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let fill = || Ok(splice(from, None, into, None, most, FLAGS)?);
        let taken = ready!(poll_io(cx, from, Interest::READABLE, fill))?;
        self.held.fetch_add(taken, Ordering::Relaxed);
        self.pipes.metrics.iter().for_each(|metrics| metrics.spliced(taken as u64));
        Poll::Ready(Ok(Bytes::from_static(&STAND_INS[..taken])))
    }

    /// Sends what is in it, so much at most.
    pub(super) fn poll_empty(
        &self,
        cx: &mut Context<'_>,
        to: &TcpStream,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let pipe = self.pipe();
        let Some(Pipe { from, .. }) = &*pipe else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let empty = || Ok(splice(from, None, to, None, most, FLAGS)?);
        let sent = ready!(poll_io(cx, to, Interest::WRITABLE, empty))?;
        self.held.fetch_sub(sent, Ordering::Relaxed);
        Poll::Ready(Ok(sent))
    }

    /// The body is over: the pipe is for others.
    pub(super) fn end(&self) {
        if self.is_on() {
            self.is_on.store(false, Ordering::Relaxed);
            let pipe = self.pipe().take();
            // What is left in it is of nobody's interest.
            let is_clean = self.held.swap(0, Ordering::Relaxed) == 0;
            self.pipes.give_back(pipe.filter(|_| is_clean));
        }
    }

    fn pipe(&self) -> MutexGuard<'_, Option<Pipe>> {
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// Tries as often as the socket may be ready.
pub(super) fn poll_io(
    cx: &mut Context<'_>,
    socket: &TcpStream,
    interest: Interest,
    mut io: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(match interest.is_readable() {
            true => socket.poll_read_ready(cx),
            false => socket.poll_write_ready(cx),
        })?;
        match socket.try_io(interest, &mut io) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

impl Drop for Splice {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether these are no bytes, but stand for what is in a pipe.
pub(super) fn stands_in(bytes: &[u8]) -> bool {
    STAND_INS.as_ptr_range().contains(&bytes.as_ptr())
}

impl Pipes {
    /// None yet.
    pub(super) fn new(metrics: &UpstreamMetrics) -> Arc<Self> {
        Arc::new(Self { metrics: Some(metrics.clone()), ..Self::default() })
    }

    /// Closes those that are not in use.
    pub(super) fn sweep(&self) {
        let idle = std::mem::take(&mut *self.idle());
        self.made.fetch_sub(idle.len(), Ordering::Relaxed);
    }

    fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.idle().pop() {
            return Some(pipe);
        }
        if self.made.load(Ordering::Relaxed) >= MOST_PIPES {
            return None;
        }
        let (from, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // A smaller one serves, too.
        _ = fcntl_setpipe_size(&into, ROOM);
        self.made.fetch_add(1, Ordering::Relaxed);
        Some(Pipe { from, into })
    }

    /// One that is clean, or none in its place.
    fn give_back(&self, pipe: Option<Pipe>) {
        match pipe {
            Some(pipe) => self.idle().push(pipe),
            None => _ = self.made.fetch_sub(1, Ordering::Relaxed),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Pipe>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
