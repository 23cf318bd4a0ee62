//! Bodies as they stream through, frame by frame: the reader's pace is the writer's.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use http_body::{Frame, SizeHint};
use thiserror::Error;

use super::access_log::Notes;
use super::account::Account;
use super::breach::Breach;
use super::endpoint::BrokenOff;
use super::exchange::Exchange;
use super::guard::UploadWay;
use super::headers;
use super::incoming::{Incoming, IncomingError};
use super::quiet::Quiet;
use super::splice::{Splice, UploadSplice};
use super::stream::Stream;
use super::upload::Upload;

/// A client request's body on its way to a backend.
#[derive(Default)]
pub(super) struct RequestBody {
    /// What comes before the rest: it is sent again.
    #[expect(clippy::box_collection, reason = "it is nearly never there")]
    again: Option<Box<VecDeque<Bytes>>>,
    incoming: Option<Incoming>,
    upload: Option<Rc<Upload>>,
    notes: Option<Rc<Notes>>,
    way: Option<UploadWay>,
}

impl RequestBody {
    /// A body that may be long; one that is known to be empty costs nothing.
    pub(super) fn new(incoming: Incoming, notes: Option<Rc<Notes>>) -> Self {
        let incoming = (!http_body::Body::is_end_stream(&incoming)).then_some(incoming);
        Self { again: None, incoming, upload: None, notes, way: None }
    }

    /// It may go round user space, where there is such a way.
    pub(super) fn by(mut self, way: impl FnOnce() -> Option<UploadWay>) -> Self {
        if !self.is_empty() {
            self.way = way();
        }
        self
    }

    /// The way round user space that it may go, or goes.
    pub(super) fn way(&self) -> Option<&UploadSplice> {
        self.way.as_ref().map(UploadWay::splice)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.incoming.is_none() && self.again.is_none()
    }

    /// These parts, which were taken from it, come once more.
    pub(super) fn rewind(&mut self, taken: VecDeque<Bytes>) {
        self.again = (!taken.is_empty()).then(|| Box::new(taken));
    }

    fn next_again(&mut self) -> Option<Bytes> {
        let again = self.again.as_mut()?;
        let part = again.pop_front();
        if again.is_empty() {
            self.again = None;
        }
        part
    }

    /// Tells this upload what comes.
    pub(super) fn report_to(&mut self, upload: Rc<Upload>) {
        self.upload = Some(upload);
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = IncomingError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IncomingError>>> {
        if let Some(part) = self.next_again() {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        let Self { incoming, upload, notes, .. } = &mut *self;
        let Some(incoming) = incoming else { return Poll::Ready(None) };
        let mut frame = Pin::new(&mut *incoming).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            headers::settle_trailers(trailers);
        }
        if let (Some(notes), Poll::Ready(Some(Ok(part)))) = (notes, &frame) {
            notes.received(part.data_ref().map_or(0, Bytes::len));
        }
        let Some(upload) = upload else { return frame };
        match &frame {
            Poll::Ready(Some(Ok(part))) => {
                let is_last = http_body::Body::is_end_stream(incoming);
                upload.came(part.data_ref().map_or(0, Bytes::len), is_last);
            }
            Poll::Ready(_) => upload.came(0, true),
            Poll::Pending => upload.wait(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.again.is_none() && self.incoming.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if self.again.is_some() {
            return SizeHint::default();
        }
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

/// Why a response's body broke off.
#[derive(Debug, Error)]
pub(super) enum BodyError {
    /// The client broke its request off, which the endpoint was to read to its end.
    #[error("the client broke its request off")]
    Request,
    /// Over HTTP/1.1.
    #[error("the endpoint's response broke off ({})", .0.label())]
    Http1(Breach),
    /// Over HTTP/2; a client that speaks it, too, hears the reason.
    #[error("the endpoint's stream broke off")]
    Http2(#[source] h2::Error),
    /// It says nothing any more.
    #[error("the endpoint's response does not go on")]
    Quiet,
}

impl From<BrokenOff> for BodyError {
    fn from(broken: BrokenOff) -> Self {
        match broken {
            BrokenOff::Request => Self::Request,
            BrokenOff::Response(breach) => Self::Http1(breach),
        }
    }
}

impl From<BrokenOff<h2::Error>> for BodyError {
    /// That an endpoint breaks the rules of HTTP/2 is no fault of the client's, who would be told of one by the same reason.
    fn from(broken: BrokenOff<h2::Error>) -> Self {
        match broken {
            BrokenOff::Request => Self::Request,
            BrokenOff::Response(error) if error.reason() == Some(Reason::PROTOCOL_ERROR) => {
                Self::Http2(Reason::INTERNAL_ERROR.into())
            }
            BrokenOff::Response(error) => Self::Http2(error),
        }
    }
}

/// A response's body on its way to the client. While it lives, its connection is busy.
pub(super) struct Body {
    content: Content,
    account: Option<Account>,
    quiet: Option<Box<Quiet>>,
    /// Why it broke off, while the client is yet to get what came before that.
    broken: Option<Box<BodyError>>,
    /// Bytes that the client has got once all that was given out is written: with HTTP/1.
    given: u64,
}

/// So much may wait to be written to a client before it takes no more. The HTTP library would gather as much as the
/// largest head that it may read.
const UNWRITTEN: u64 = 8 * 1024;

enum Content {
    /// Ours, or nothing.
    Text(Option<Bytes>),
    /// The backend's, as it comes over its connection.
    Exchange(Box<Exchange>),
    /// The backend's, over HTTP/2.
    Stream(Box<Stream>),
}

impl Content {
    /// Its endpoint's record hears of that.
    fn tell(&self, breach: Breach) {
        match self {
            Self::Text(_) => {}
            Self::Exchange(exchange) => exchange.tell(breach),
            Self::Stream(stream) => stream.tell(breach),
        }
    }
}

impl Body {
    /// A text of our own.
    pub(super) fn text(text: String) -> Self {
        Content::Text(Some(text.into())).into()
    }

    /// Nothing.
    pub(super) fn empty() -> Self {
        Content::Text(None).into()
    }

    /// A backend's, whose connection goes back to the pool at its end.
    pub(super) fn exchange(exchange: Box<Exchange>) -> Self {
        Content::Exchange(exchange).into()
    }

    /// A backend's, over an HTTP/2 connection.
    pub(super) fn stream(stream: Box<Stream>) -> Self {
        Content::Stream(stream).into()
    }

    /// It breaks off if nothing comes for too long.
    pub(super) fn watch(&mut self, quiet: Quiet) {
        self.quiet = Some(Box::new(quiet));
    }

    /// Nobody wants it, and yet the answer is whole: that to HEAD has none.
    pub(super) fn leave(&mut self) {
        if let Some(account) = &mut self.account {
            account.whole();
        }
    }

    /// The request's account ends with the body.
    pub(super) fn hold(&mut self, mut account: Account) {
        if http_body::Body::is_end_stream(self) {
            account.whole();
        }
        self.given = account.busy().written().unwrap_or_default();
        self.account = Some(account);
    }
}

impl Body {
    /// Whether what is given out should be written first. Then the HTTP library writes it at once, and asks again as soon
    /// as it can; where it has not tried yet, it is told to.
    fn has_enough(&self, cx: &Context<'_>) -> bool {
        let Some(busy) = self.account.as_ref().map(Account::busy) else { return false };
        let has_enough = busy.written().is_some_and(|written| self.given > written + UNWRITTEN)
            || busy.splice().is_some_and(Splice::is_full);
        if has_enough {
            busy.holds_back();
            if !busy.is_blocked() {
                cx.waker().wake_by_ref();
            }
        }
        has_enough
    }

    /// With HTTP/1, the library forgets what it has not written yet once it hears of an error: a client would take nothing at
    /// all for a connection that was closed before it asked. So the rest is written first.
    fn break_off(
        &mut self,
        error: BodyError,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let is_http1 = self.account.as_ref().is_some_and(|account| account.busy().written().is_some());
        if !is_http1 {
            return Poll::Ready(Some(Err(error)));
        }
        self.broken = Some(Box::new(error));
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Once that is so, or nothing more can be written.
    fn broke_off(&mut self) -> Option<BodyError> {
        let is_blocked = self.account.as_ref().is_some_and(|account| account.busy().is_blocked());
        self.broken.take_if(|_| !is_blocked).map(|error| *error)
    }
}

impl From<Content> for Body {
    fn from(content: Content) -> Self {
        Self { content, account: None, quiet: None, broken: None, given: 0 }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.broken.is_some() {
            return self.broke_off().map_or(Poll::Pending, |error| Poll::Ready(Some(Err(error))));
        }
        if self.has_enough(cx) {
            return Poll::Pending;
        }
        let this = &mut *self;
        let splice = this.account.as_ref().and_then(|account| account.busy().splice());
        let mut frame = match &mut this.content {
            Content::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Content::Exchange(exchange) => exchange.poll_frame(cx, splice).map_err(BodyError::from),
            Content::Stream(stream) => stream.poll_frame(cx).map_err(BodyError::from),
        };
        if let Some(quiet) = &mut this.quiet {
            if frame.is_ready() {
                quiet.came();
            } else if quiet.poll(cx).is_ready() {
                this.content.tell(Breach::SlowBody);
                frame = Poll::Ready(Some(Err(BodyError::Quiet)));
            }
        }
        let is_last = frame.is_ready() && self.is_end_stream();
        let data = match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref().map(Bytes::len),
            _ => None,
        };
        self.given += data.unwrap_or_default() as u64;
        if let Some(account) = &mut self.account {
            account.busy().waits_for_client(data.is_some());
            account.frame(&frame, is_last);
        }
        match frame {
            Poll::Ready(Some(Err(error))) => self.break_off(error, cx),
            frame => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Text(text) => text.is_none(),
            Content::Exchange(exchange) => exchange.is_end_stream(),
            Content::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Content::Exchange(exchange) => exchange.size_hint(),
            Content::Stream(stream) => stream.size_hint(),
        }
    }
}
