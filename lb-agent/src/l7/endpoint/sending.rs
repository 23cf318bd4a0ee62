//! A request on its way to an endpoint: its head, then its body as it comes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite as _;

use crate::l7::body::RequestBody;
use crate::l7::forwarded::Origin;
use crate::l7::line;
use crate::l7::secured::EndpointStream;
use crate::l7::splice::UploadSplice;

/// A buffer keeps no more than this from one request to the next.
const KEPT: usize = 4 * 1024;

/// What is yet to be sent of one.
#[derive(Default)]
pub(super) struct Sending {
    /// Goes first: the head, or the size of a chunk, or what ends a body.
    front: Vec<u8>,
    /// How much of it has gone.
    gone: usize,
    /// Of the body.
    part: Bytes,
    /// What follows that.
    back: &'static [u8],
    body: Option<RequestBody>,
    coding: Coding,
    /// Whether the endpoint may have seen something of it.
    is_seen: bool,
    /// Whether the rest of the body was offered the way round user space, and the part stands for what goes it.
    is_offered: bool,
    is_round: bool,
}

/// How the body is framed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Coding {
    #[default]
    None,
    /// So many bytes are to come.
    Length(u64),
    Chunks,
}

/// Why the rest cannot be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SendError {
    /// The connection broke before anything was sent.
    Unsent,
    /// It broke.
    Broken,
    /// The body broke off.
    Body,
}

impl Sending {
    /// A request is to be sent, and its body taken for that.
    pub(super) fn begin(&mut self, request: &mut Request<RequestBody>, origin: Option<&Origin>) {
        self.front.clear();
        self.gone = 0;
        (self.is_seen, self.is_offered, self.is_round) = (false, false, false);
        self.coding = encode(request, origin, &mut self.front);
        self.body = (self.coding != Coding::None).then(|| std::mem::take(request.body_mut()));
    }

    /// Whether all of it has been sent.
    pub(super) fn is_done(&self) -> bool {
        self.body.is_none() && self.gone == self.front.len() && self.part.is_empty() && self.back.is_empty()
    }

    /// Whether more of the body has gone than it knows of.
    pub(super) fn is_ahead(&self) -> bool {
        self.body.as_ref().and_then(RequestBody::way).is_some_and(UploadSplice::is_ahead)
    }

    /// The body of a request of which nothing was sent, from its beginning.
    pub(super) fn take_back(&mut self) -> RequestBody {
        let mut body = self.body.take().unwrap_or_default();
        let part = std::mem::take(&mut self.part);
        if !part.is_empty() {
            body.rewind([part].into());
        }
        body
    }

    /// Sends what there is, as far as there is room. Ready when nothing more is to be sent.
    pub(super) fn poll(
        &mut self,
        stream: &mut EndpointStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        if self.is_done() {
            return Poll::Ready(Ok(()));
        }
        loop {
            self.offer_way(stream);
            let comes = self.poll_body(cx)?;
            if self.poll_write(stream, cx).map_err(|_| self.broke())?.is_pending() {
                return Poll::Pending;
            }
            if comes.is_pending() || self.body.is_none() {
                let flushed = ready!(Pin::new(stream).poll_flush(cx));
                flushed.map_err(|_| self.broke())?;
                self.rest();
                return if self.body.is_none() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
        }
    }

    /// A long body goes round user space from here on, if it can: once its request cannot be sent again.
    fn offer_way(&mut self, stream: &EndpointStream) {
        let Coding::Length(left) = self.coding else { return };
        if self.is_seen && !self.is_offered && self.part.is_empty() && stream.clear().is_some() {
            self.is_offered = true;
            self.body.iter().filter_map(RequestBody::way).for_each(|way| way.offer(left));
        }
    }

    /// Has the next part of the body at hand, with its frame, so that it goes with what is before it. Pending if it has to
    /// be waited for.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if !self.part.is_empty() || !self.back.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let Some(body) = &mut self.body else { return Poll::Ready(Ok(())) };
        match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) => self.take(frame),
            Some(Err(_)) => Err(self.bad_body()),
            None => self.end(None),
        }
        .into()
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<(), SendError> {
        let part = match frame.into_data() {
            Ok(part) => part,
            Err(frame) => return self.end(frame.into_trailers().ok()),
        };
        if let Coding::Length(left) = self.coding {
            let way = self.body.as_ref().and_then(RequestBody::way);
            self.is_round = way.is_some_and(|way| way.stands_in(left));
        }
        match &mut self.coding {
            // An empty chunk would be the last one.
            _ if part.is_empty() => return Ok(()),
            Coding::Chunks => {
                self.shorten();
                self.front.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                self.back = b"\r\n";
            }
            Coding::Length(left) => match left.checked_sub(part.len() as u64) {
                Some(rest) => *left = rest,
                None => return Err(self.bad_body()),
            },
            Coding::None => return Err(self.bad_body()),
        }
        self.part = part;
        Ok(())
    }

    /// No part follows.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), SendError> {
        match self.coding {
            Coding::Length(1..) => return Err(self.bad_body()),
            Coding::Length(0) | Coding::None => {}
            Coding::Chunks => {
                self.shorten();
                self.front.extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers {
                    write_fields(trailers.iter(), &mut self.front);
                }
                self.front.extend_from_slice(b"\r\n");
            }
        }
        self.body = None;
        Ok(())
    }

    fn poll_write(&mut self, stream: &mut EndpointStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // What was sent before was all of the head.
            if self.is_round && !self.part.is_empty() {
                let sent = ready!(self.poll_round(stream, cx))?;
                self.part.advance(sent);
                continue;
            }
            let front = &self.front[self.gone..];
            let slices = [IoSlice::new(front), IoSlice::new(&self.part), IoSlice::new(self.back)];
            let slices = match (front, &self.part[..], self.back) {
                ([], [], []) => return Poll::Ready(Ok(())),
                (_, [], []) => &slices[..1],
                ([], _, []) => &slices[1..2],
                _ => &slices[..],
            };
            let written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
    }

    fn poll_round(&self, stream: &EndpointStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let way = self.body.as_ref().and_then(RequestBody::way);
        let (Some(way), Some(to)) = (way, stream.clear()) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        match ready!(way.poll_empty(cx, to, self.part.len()))? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            sent => Poll::Ready(Ok(sent)),
        }
    }

    fn advance(&mut self, written: usize) {
        self.is_seen = true;
        let front = written.min(self.front.len() - self.gone);
        self.gone += front;
        let part = (written - front).min(self.part.len());
        self.part.advance(part);
        self.back = &self.back[written - front - part..];
    }

    /// Forgets what has gone of the front.
    fn shorten(&mut self) {
        self.front.drain(..self.gone);
        self.gone = 0;
    }

    fn bad_body(&mut self) -> SendError {
        self.stop();
        SendError::Body
    }

    /// Nothing more can be sent. What was not sent at all is kept, to be taken back.
    fn broke(&mut self) -> SendError {
        if !self.is_seen {
            return SendError::Unsent;
        }
        self.stop();
        SendError::Broken
    }

    fn stop(&mut self) {
        *self = Self::default();
    }

    /// All that there is has gone.
    fn rest(&mut self) {
        self.front.clear();
        self.gone = 0;
        if self.front.capacity() > KEPT {
            self.front = Vec::new();
        }
    }
}

/// Writes a request's head; how its body is framed.
fn encode(request: &Request<RequestBody>, origin: Option<&Origin>, head: &mut Vec<u8>) -> Coding {
    let (uri, headers) = (request.uri(), request.headers());
    for part in [request.method().as_str(), " ", uri.path()] {
        head.extend_from_slice(part.as_bytes());
    }
    if let Some(query) = uri.query() {
        head.push(b'?');
        head.extend_from_slice(query.as_bytes());
    }
    head.extend_from_slice(b" HTTP/1.1\r\n");
    write_fields(headers.iter(), head);
    if let Some(origin) = origin {
        origin.write(headers, head);
    }
    let coding = coding(request);
    match coding {
        Coding::Length(length) if !headers.contains_key(CONTENT_LENGTH) => {
            head.extend_from_slice(format!("{CONTENT_LENGTH}: {length}\r\n").as_bytes());
        }
        Coding::Chunks => head.extend_from_slice(format!("{TRANSFER_ENCODING}: chunked\r\n").as_bytes()),
        // With HTTP/2 a request's end says so; here an endpoint may ask for its length (RFC 9110 section 8.6).
        Coding::None if has_meaning(request.method()) && !headers.contains_key(CONTENT_LENGTH) => {
            head.extend_from_slice(format!("{CONTENT_LENGTH}: 0\r\n").as_bytes());
        }
        Coding::Length(_) | Coding::None => {}
    }
    head.extend_from_slice(b"\r\n");
    coding
}

fn coding(request: &Request<RequestBody>) -> Coding {
    if request.body().is_empty() {
        return Coding::None;
    }
    let said = request.headers().get(CONTENT_LENGTH).and_then(|said| line::length(said.as_bytes()).ok());
    match said.or_else(|| request.body().size_hint().exact()) {
        Some(length) => Coding::Length(length),
        None => Coding::Chunks,
    }
}

/// Whether a body of a request with this method means something.
fn has_meaning(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
}

fn write_fields<'a>(fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>, head: &mut Vec<u8>) {
    for (name, value) in fields {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
}
