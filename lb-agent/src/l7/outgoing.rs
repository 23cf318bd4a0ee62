//! A request's body on its way into an HTTP/2 stream, and what is kept of it so that it can be sent again.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::{Body as _, Frame};

use super::body::RequestBody;
use super::parts::poll_room;

/// So much of a body is kept until the response begins, to be sent again if the endpoint has not looked at it.
const KEPT: usize = 64 * 1024;

/// A request's body on its way.
pub(super) struct Outgoing {
    stream: SendStream<Bytes>,
    body: RequestBody,
    is_empty: bool,
    is_sent: bool,
    /// What the endpoint gives no room for yet.
    waiting: Bytes,
    /// What was taken so far; none if that was too much, or trailers.
    kept: Option<Taken>,
    kept_bytes: usize,
}

/// Parts of a body. Nearly always there is one, for which there is room.
#[derive(Default)]
struct Taken {
    first: Option<Bytes>,
    others: Vec<Bytes>,
}

impl Taken {
    fn push(&mut self, part: Bytes) {
        match &self.first {
            None => self.first = Some(part),
            Some(_) => self.others.push(part),
        }
    }
}

/// The client's side of it broke.
pub(super) struct BadBody;

impl Outgoing {
    /// What follows the head of a request on its stream.
    pub(super) fn new(stream: SendStream<Bytes>, body: RequestBody) -> Self {
        let is_empty = body.is_end_stream();
        let (waiting, kept) = (Bytes::new(), Some(Taken::default()));
        Self { stream, body, is_empty, is_sent: is_empty, waiting, kept, kept_bytes: 0 }
    }

    /// Sends what comes and has room. Ready when nothing more is to be sent.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BadBody>> {
        while !self.is_sent {
            if !self.waiting.is_empty() {
                ready!(self.poll_send(cx));
                continue;
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => self.take(frame),
                Some(Err(_)) => {
                    self.is_sent = true;
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(BadBody));
                }
                None => self.end(),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }

    fn take(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(part) => {
                self.keep(&part);
                self.waiting = part;
            }
            Err(frame) => {
                let Ok(trailers) = frame.into_trailers() else { return };
                self.kept = None;
                self.is_sent = true;
                // If it cannot be sent, the response tells why.
                _ = self.stream.send_trailers(trailers);
            }
        }
    }

    fn keep(&mut self, part: &Bytes) {
        self.kept_bytes += part.len();
        match &mut self.kept {
            Some(kept) if self.kept_bytes <= KEPT => kept.push(part.clone()),
            kept => *kept = None,
        }
    }

    /// Sends as much of what waits as there is room for.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.reserve_capacity(self.waiting.len());
        if !matches!(ready!(poll_room(&mut self.stream, cx)), Some(Ok(()))) {
            // The endpoint wants no more of it.
            self.is_sent = true;
            self.waiting.clear();
            return Poll::Ready(());
        }
        let part = self.waiting.split_to(self.stream.capacity().min(self.waiting.len()));
        let is_last = self.waiting.is_empty() && self.body.is_end_stream();
        self.is_sent = self.stream.send_data(part, is_last).is_err() || is_last;
        Poll::Ready(())
    }

    fn end(&mut self) {
        self.is_sent = true;
        self.body = RequestBody::default();
        _ = self.stream.send_data(Bytes::new(), true);
    }

    /// What is left to do once the response has begun: nothing is sent again then.
    pub(super) fn left(mut self) -> Option<Box<Self>> {
        self.kept = None;
        (!self.is_sent).then(|| Box::new(self))
    }

    /// The body from its beginning.
    pub(super) fn rewound(self) -> Option<RequestBody> {
        let Self { mut body, kept, .. } = self;
        let Taken { first, others } = kept?;
        body.rewind(first.into_iter().chain(others).collect());
        Some(body)
    }
}
