//! One HTTP/1.1 connection to an endpoint, read and written by whoever waits for its response, within his own task: a
//! request costs no second task, no wake-up between two, and no copy of what it can be sent again from.

mod chunks;
mod framing;
#[cfg(any(test, fuzzing))]
pub(in crate::l7) mod fuzzed;
mod head;
mod sending;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::io::AsyncReadExt;

use self::framing::{Framing, Step};
use self::head::Head;
use self::sending::{SendError, Sending};
use super::body::RequestBody;
use super::breach::{Breach, Breaches};
use super::deadline::{Deadline, Deadlines};
use super::forwarded::Origin;
use super::secured::EndpointStream;
use super::shortage::Unconnected;
use super::splice::Splice;

/// Read of a head at once, and of as much of its body as came with it: at least, and at most. In between, as much as the
/// response before took.
const LEAST_ROOM: usize = 4 * 1024;
const MOST_ROOM: usize = 64 * 1024;

/// Of a body, too, for clients that hold more than one part when they do not read: with HTTP/2 three, for the HTTP library
/// takes the next part of a stream before there is room for it, and over TLS two and a record.
const SMALL_ROOM: usize = 16 * 1024;

/// An idle connection keeps no more room than this.
const KEPT_ROOM: usize = 16 * 1024;

/// Nor a larger map of headers.
const KEPT_HEADERS: usize = 64;

/// A connection to an endpoint, on which one request at a time is under way.
pub(super) struct EndpointConnection {
    /// For the response that is waited for.
    pub(super) deadline: Rc<Deadline>,
    /// When it is of no use any more, if it was idle once: in ticks of the worker's deadlines.
    pub(super) idle_until: u64,
    /// How long the endpoint keeps it without a request, by its last word.
    pub(super) keeps_for: Option<Duration>,
    stream: EndpointStream,
    /// What came and was not passed on yet.
    received: BytesMut,
    /// Bytes that came since the request was sent, and room for as many as came after the one before.
    came: usize,
    room: usize,
    /// No more than this at once.
    most: usize,
    sending: Sending,
    /// Of the response under way.
    framing: Framing,
    /// For the headers of the next response. A map is costly to make: one goes round from message to message.
    spare: HeaderMap,
    /// Whether another request may follow.
    is_open: bool,
    pub(super) breaches: Rc<Breaches>,
}

/// Why no response came.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing of the request was sent: it is whole.
    NotSent,
    /// The same, for something is short here: nothing is wrong with the endpoint.
    Short,
    /// The endpoint ends the connection and has not looked at the request.
    Unprocessed,
    /// The endpoint takes no request more for now and has not looked at this one.
    Refused,
    /// The connection broke, or what came was not HTTP.
    Broken(Breach),
    /// The connection had been idle and was closed while the request was on its way, before anything of a response: so it is
    /// kept or closed anywhere.
    Stale,
    /// The request's own body could not be had: nothing is wrong with the endpoint.
    BadBody,
    /// The client did not send the request's body in time: nothing is wrong with the endpoint.
    SlowBody,
    /// The deadline passed.
    TimedOut(Breach),
}

impl From<Unconnected> for Failure {
    fn from(why: Unconnected) -> Self {
        match why {
            Unconnected::Refused => Self::NotSent,
            Unconnected::Short => Self::Short,
        }
    }
}

/// A response does not come to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BrokenOff<E = Breach> {
    /// The endpoint broke it off, or the rules.
    Response(E),
    /// The body of its request did: the connection, or the stream, goes with it.
    Request,
}

impl EndpointConnection {
    /// Over a stream that is ready.
    pub(super) fn new(stream: EndpointStream, deadlines: &Rc<Deadlines>, breaches: &Rc<Breaches>) -> Self {
        Self {
            deadline: Rc::new(Deadline::new(deadlines)),
            idle_until: 0,
            keeps_for: None,
            stream,
            received: BytesMut::new(),
            came: 0,
            room: LEAST_ROOM,
            most: SMALL_ROOM,
            sending: Sending::default(),
            framing: Framing::None,
            spare: HeaderMap::new(),
            is_open: true,
            breaches: breaches.clone(),
        }
    }

    /// The next response is for a client in the clear with HTTP/1, or not.
    pub(super) fn is_for_plain(&mut self, is_plain: bool) {
        self.most = if is_plain { MOST_ROOM } else { SMALL_ROOM };
    }

    /// Sends a request, with what is yet to be told of where it comes from, and waits for the head of its response, whose body
    /// comes by `poll_frame`. The request's body is taken, unless nothing was sent of it; so are its headers once there is a
    /// response, if it is not to be sent again for what that says, or for what nobody asked.
    pub(super) async fn send(
        &mut self,
        request: &mut Request<RequestBody>,
        origin: Option<&Origin>,
        may_go_again: bool,
    ) -> Result<Response<()>, Failure> {
        if !self.is_quiet() {
            return Err(Failure::NotSent);
        }
        let is_head = request.method() == Method::HEAD;
        self.sending.begin(request, origin);
        self.came = 0;
        let result = poll_fn(|cx| match self.poll_response(cx, is_head) {
            Poll::Pending => self.deadline.poll(cx).map(|()| Err(Failure::TimedOut(self.silence()))),
            ready => ready,
        })
        .await;
        match &result {
            Ok(response) if !may_go_again && response.status() != StatusCode::SWITCHING_PROTOCOLS => {
                let mut spare = std::mem::take(request.headers_mut());
                if spare.capacity() <= KEPT_HEADERS {
                    spare.clear();
                    self.spare = spare;
                }
            }
            Ok(_) => {}
            Err(_) => self.is_open = false,
        }
        if matches!(result, Err(Failure::NotSent)) {
            *request.body_mut() = self.sending.take_back();
        }
        result
    }

    /// Whether nothing came while nobody waited: an end, or bytes that nobody asked for. Forgets the task that waited.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.is_open
            && match self.poll_receive(&mut Context::from_waker(Waker::noop()), LEAST_ROOM) {
                Poll::Pending => true,
                Poll::Ready(came) => {
                    if came.is_ok_and(|bytes| bytes > 0) {
                        self.breaches.tell(Breach::Surplus);
                    }
                    self.is_open = false;
                    false
                }
            }
    }

    fn poll_response(&mut self, cx: &mut Context<'_>, is_head: bool) -> Poll<Result<Response<()>, Failure>> {
        match self.go_on_sending(cx) {
            Some(SendError::Body) => return Poll::Ready(Err(Failure::BadBody)),
            Some(SendError::Unsent) => return Poll::Ready(Err(Failure::NotSent)),
            // Who closes before the end of a request may have answered before that.
            Some(SendError::Broken) | None => {}
        }
        // An answer to all of it would seem to come before its end.
        if self.sending.is_ahead() {
            return Poll::Pending;
        }
        loop {
            match head::parse(&mut self.received, is_head, &mut self.spare) {
                Ok(Some(head)) if head.response.status().is_informational() && !head.switches() => {}
                Ok(Some(head)) => return Poll::Ready(Ok(self.begin(head))),
                Ok(None) => match ready!(self.poll_receive(cx, self.room)) {
                    Ok(0) | Err(_) => return Poll::Ready(Err(self.closed())),
                    Ok(_) => {}
                },
                Err(breach) => return Poll::Ready(Err(Failure::Broken(breach))),
            }
        }
    }

    /// Sends what can be sent now; why nothing more can be, if so: then no other request follows.
    fn go_on_sending(&mut self, cx: &mut Context<'_>) -> Option<SendError> {
        let Poll::Ready(Err(why)) = self.sending.poll(&mut self.stream, cx) else { return None };
        self.is_open = false;
        Some(why)
    }

    /// Nothing more comes. An endpoint may close a connection that was kept, but not in the middle of an answer.
    fn closed(&self) -> Failure {
        let was_kept = self.idle_until > 0;
        if was_kept && self.came == 0 { Failure::Stale } else { Failure::Broken(Breach::Closed) }
    }

    fn begin(&mut self, head: Head) -> Response<()> {
        self.framing = head.framing;
        self.is_open &= head.keeps_alive;
        self.keeps_for = head.keeps_for.map(Duration::from_secs);
        head.response
    }

    /// The next part of the response's body, round user space if that can be.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        splice: Option<&Splice>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.go_on_sending(cx) == Some(SendError::Body) {
            return Poll::Ready(Some(Err(BrokenOff::Request)));
        }
        if self.sending.is_ahead() {
            return Poll::Pending;
        }
        let frame = ready!(self.poll_step(cx, splice));
        if let Err(breach) = frame {
            self.is_open = false;
            self.breaches.tell(breach);
        }
        Poll::Ready(frame.map_err(BrokenOff::Response).transpose())
    }

    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        splice: Option<&Splice>,
    ) -> Poll<Result<Option<Frame<Bytes>>, Breach>> {
        loop {
            if let (Some(splice), Some(left)) = (splice, self.framing.known())
                && let EndpointStream::Clear(stream) = &self.stream
                && self.received.is_empty()
                && splice.takes(left)
            {
                let part = ready!(splice.poll_fill(cx, stream, left));
                let part = part.ok().filter(|part| !part.is_empty()).ok_or(Breach::CutBody)?;
                self.framing.pass(part.len());
                return Poll::Ready(Ok(Some(Frame::data(part))));
            }
            let room = match self.framing.step(&mut self.received)? {
                Step::Part(part) => return Poll::Ready(Ok(Some(Frame::data(part)))),
                Step::Trailers(trailers) => return Poll::Ready(Ok(Some(Frame::trailers(trailers)))),
                Step::End => return Poll::Ready(Ok(None)),
                Step::More(room) => room,
            };
            match ready!(self.poll_receive(cx, room)) {
                Ok(0) if self.framing == Framing::UntilClose => {
                    self.framing = Framing::None;
                    return Poll::Ready(Ok(None));
                }
                Ok(0) | Err(_) => return Poll::Ready(Err(Breach::CutBody)),
                Ok(_) => {}
            }
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        self.received.reserve(room.min(self.most));
        let read = pin!(self.stream.read_buf(&mut self.received)).poll(cx);
        if let Poll::Ready(Ok(bytes)) = read {
            self.came += bytes;
        }
        read
    }

    /// Whether all of the response has been passed on, as far as can be known without reading on.
    pub(super) fn is_at_end(&self) -> bool {
        self.framing == Framing::None
    }

    /// How much is left of the response's body.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.framing.size_hint()
    }

    /// After the end of a response: whether another request could go over it, as far as is known. Who sent more than a
    /// response gets none.
    pub(super) fn settle(&mut self) -> bool {
        if !self.received.is_empty() {
            self.breaches.tell(Breach::Surplus);
            self.is_open = false;
        }
        self.is_open &= self.sending.is_done();
        self.room = self.came.next_power_of_two().clamp(LEAST_ROOM, MOST_ROOM);
        if self.received.capacity() > KEPT_ROOM {
            self.received = BytesMut::new();
        }
        self.is_open
    }

    /// After an answer that switches protocols: the stream, and what came after the answer.
    pub(super) fn into_stream(self) -> (EndpointStream, BytesMut) {
        (self.stream, self.received)
    }

    /// What was waited for in vain: a response, or the rest of its head.
    fn silence(&self) -> Breach {
        if self.received.is_empty() { Breach::Silent } else { Breach::SlowHead }
    }
}
