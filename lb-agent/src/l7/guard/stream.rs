//! A client's stream whose bytes are looked at before the HTTP library gets them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::fault::{Fault, Malformed};
use super::heads::Refused;
use super::http1::{Scanner, Stop};
use super::http2::Meter;
use super::passage::Passage;
use crate::l7::coalesce;
use crate::l7::connection::Transport;
use crate::l7::limits::Limits;
use crate::l7::splice::stands_in;

/// A stream that first gives back what was read of it, and ends before what is refused.
pub(in crate::l7) struct Guarded<T> {
    prefix: Bytes,
    stream: T,
    passage: Arc<Passage>,
    guard: Guard,
    ended: Option<Ended>,
}

enum Guard {
    Http1(Scanner),
    Http2(Meter),
}

/// How reading goes on after a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The requests before have their responses first.
    BetweenRequests,
    /// The one under way cannot be completed.
    Within,
    /// All have had theirs, the refused one too: what still comes is of no interest.
    Answered,
}

impl<T> Guarded<T> {
    /// A stream of HTTP/1.
    pub(in crate::l7) fn http1(prefix: Bytes, stream: T, passage: Arc<Passage>, limits: Limits) -> Self {
        let guard = Guard::Http1(Scanner::new(limits));
        Self { prefix, stream, passage, guard, ended: None }
    }

    /// A stream of HTTP/2.
    pub(in crate::l7) fn http2(prefix: Bytes, stream: T, passage: Arc<Passage>, limits: Limits) -> Self {
        let guard = Guard::Http2(Meter::new(limits, Instant::now()));
        Self { prefix, stream, passage, guard, ended: None }
    }

    /// The stream itself.
    pub(in crate::l7) fn get_ref(&self) -> &T {
        &self.stream
    }

    /// What was read and not given back, and the stream.
    pub(in crate::l7) fn into_parts(self) -> (Bytes, T) {
        (self.prefix, self.stream)
    }

    /// What was refused, if nobody has heard of it. From now on the stream can be read and closed to its end.
    pub(in crate::l7) fn unanswered(&mut self) -> Option<Fault> {
        match self.ended.replace(Ended::Answered) {
            Some(Ended::BetweenRequests) => self.passage.fault(),
            _ => None,
        }
    }

    /// What still comes is of no interest: the stream can be read and closed to its end.
    pub(in crate::l7) fn give_up(&mut self) {
        self.ended = Some(Ended::Answered);
    }

    /// What is read now cannot be a tunnel's if it comes with the request for one.
    fn look(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if self.passage.is_tunnel() {
            return Ok(());
        }
        match &mut self.guard {
            Guard::Http1(scanner) => scanner.advance(bytes),
            Guard::Http2(meter) => {
                let met = meter.advance(bytes);
                self.passage.leave(meter.unfinished());
                met.map_err(|limit| Stop { fault: Fault::Limit(limit), good: 0, in_body: true })
            }
        }
    }

    fn wrote(&mut self, data: &[IoSlice<'_>], written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => {
                self.passage.wrote(Some(*bytes));
                if let Guard::Http2(meter) = &mut self.guard {
                    let mut left = *bytes;
                    for part in data {
                        let part = &part[..left.min(part.len())];
                        left -= part.len();
                        meter.wrote(part);
                    }
                    let refused = meter.refused();
                    if refused != Refused::default() {
                        self.passage.refuse(refused);
                    }
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.passage.wrote(None),
        }
        written
    }
}

impl<T: AsyncRead + Unpin> Guarded<T> {
    fn poll_stream(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            let read = Pin::new(&mut self.stream).poll_read(cx, buf);
            match &read {
                Poll::Ready(Ok(())) => self.passage.receive(),
                Poll::Ready(Err(error)) => {
                    Malformed::of_tls(error).into_iter().for_each(|fault| self.passage.stop(fault.into()));
                }
                Poll::Pending => {}
            }
            return read;
        }
        self.passage.receive();
        let length = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..length]);
        self.prefix.advance(length);
        if self.prefix.is_empty() {
            // Gives the memory back.
            self.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: Transport> Guarded<T> {
    /// Of a body that goes round user space: how much is left, if that is so.
    fn goes_round(&self) -> Option<u64> {
        match &self.guard {
            Guard::Http1(scanner) if self.passage.upload.is_on() && self.prefix.is_empty() => {
                scanner.left_of_body()
            }
            _ => None,
        }
    }

    /// Nobody reads what stands for it.
    fn poll_round(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, left: u64) -> Poll<io::Result<()>> {
        let (from, room) = (self.stream.socket(), buf.remaining());
        let bytes = ready!(self.passage.upload.poll_fill(cx, from, room, left))?;
        self.passage.receive();
        if let Guard::Http1(scanner) = &mut self.guard {
            scanner.pass_body(bytes);
        }
        buf.initialize_unfilled_to(bytes);
        buf.advance(bytes);
        Poll::Ready(Ok(()))
    }
}

impl<T: Transport> AsyncRead for Guarded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(left) = this.goes_round().filter(|_| this.ended.is_none()) {
            return this.poll_round(cx, buf, left);
        }
        if matches!(this.ended, None | Some(Ended::Answered)) {
            let before = buf.filled().len();
            ready!(this.poll_stream(cx, buf))?;
            if this.ended.is_some() {
                return Poll::Ready(Ok(()));
            }
            let Err(stop) = this.look(&buf.filled()[before..]) else { return Poll::Ready(Ok(())) };
            this.passage.stop(stop.fault);
            this.ended = Some(if stop.in_body { Ended::Within } else { Ended::BetweenRequests });
            buf.set_filled(before + stop.good);
            if stop.good > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        match this.ended {
            // An end here would cut the response that is under way.
            Some(Ended::BetweenRequests) if this.passage.is_busy(cx) => Poll::Pending,
            Some(Ended::Within) => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<T: Transport> Guarded<T> {
    /// Where some of these are no bytes but stand for what is in a pipe, it is emptied in their place.
    fn poll_splice(&mut self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let stands_in = data.iter().position(|part| stands_in(part));
        let written = match stands_in {
            Some(0) => self.passage.splice.poll_empty(cx, self.stream.socket(), data[0].len()),
            Some(first) => coalesce::poll_write(&mut self.stream, cx, &data[..first]),
            None => coalesce::poll_write(&mut self.stream, cx, data),
        };
        self.passage.end_splice();
        written
    }
}

impl<T: Transport> AsyncWrite for Guarded<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let last = self.stream.clear().filter(|_| self.passage.writes_last());
        let written = match last {
            _ if self.passage.splice.is_on() => self.poll_splice(cx, data),
            Some(socket) => coalesce::poll_write_last(socket, cx, data),
            None => coalesce::poll_write(&mut self.stream, cx, data),
        };
        self.wrote(data, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_pending() {
            // Over TLS, this is where a client that does not read shows.
            self.passage.wrote(None);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was refused is yet to be answered.
        if self.ended == Some(Ended::BetweenRequests) {
            return Pin::new(&mut self.stream).poll_flush(cx);
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
