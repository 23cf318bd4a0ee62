//! A client request's body as it comes, whatever its connection speaks.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming as Http1;
use thiserror::Error;

use super::http2::Opening;
use super::inbox::Inbox;
use super::parts::poll_part;

/// Of one request.
pub(super) enum Incoming {
    /// Over HTTP/1.
    Http1(Http1),
    /// Over HTTP/2.
    Http2(Parts),
    /// Of a CONNECT over HTTP/2: there is none, but a tunnel may follow the response.
    Tunnel(Opening),
}

/// Why it broke off.
#[derive(Debug, Error)]
pub(super) enum IncomingError {
    /// Over HTTP/1.
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(#[from] h2::Error),
}

impl From<Http1> for Incoming {
    fn from(body: Http1) -> Self {
        Self::Http1(body)
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = IncomingError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IncomingError>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(IncomingError::from),
            Self::Http2(parts) => parts.poll_frame(cx).map_err(IncomingError::from),
            Self::Tunnel(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => http_body::Body::is_end_stream(body),
            Self::Http2(parts) => parts.inbox.is_end_stream(),
            Self::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => http_body::Body::size_hint(body),
            Self::Http2(parts) => parts.left.map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}

/// Of a client that sends the body of its request only when it hears that it is wanted: an endpoint took the request. With
/// HTTP/1 the HTTP library sees to that.
#[derive(Clone)]
pub(super) struct Continue(Rc<Cell<bool>>);

impl Continue {
    /// If it is one.
    pub(super) fn asked_for(headers: &HeaderMap) -> Option<Self> {
        let expects = |said: &HeaderValue| said.as_bytes().eq_ignore_ascii_case(b"100-continue");
        headers.get(EXPECT).is_some_and(expects).then(|| Self(Rc::default()))
    }

    /// Whether the body is wanted by now.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.get()
    }
}

/// What comes over a stream of HTTP/2.
pub(super) struct Parts {
    inbox: Inbox,
    /// What is still to come of a body whose length its request told.
    left: Option<u64>,
    continues: Option<Continue>,
}

impl Parts {
    /// What follows a request with these headers. That its length is what they say is for the HTTP library to see.
    pub(super) fn new(inbox: Inbox, headers: &HeaderMap, continues: Option<Continue>) -> Self {
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self { inbox, left: length, continues }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(continues) = self.continues.take() {
            continues.0.set(true);
        }
        let part = poll_part(&mut self.inbox, cx);
        if let (Some(left), Poll::Ready(Some(Ok(part)))) = (&mut self.left, &part) {
            *left = left.saturating_sub(part.data_ref().map_or(0, Bytes::len) as u64);
        }
        part
    }
}
