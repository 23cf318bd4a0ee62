//! A request and its response on an HTTP/2 connection to an endpoint. Both bodies move within the task that waits for
//! the response, frame by frame; dropped before its end, the stream is reset.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, EXPECT, HOST};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use http_body::{Body as _, Frame, SizeHint};

use super::body::RequestBody;
use super::breach::Breach;
use super::deadline::Deadline;
use super::endpoint::{BrokenOff, Failure};
use super::incoming::poll_part;
use super::multiplex::Place;
use super::outgoing::{BadBody, Outgoing};
use super::upstream::Turn;

/// A request that has been sent, but for the rest of its body.
pub(super) struct Asked {
    parts: Parts,
    response: ResponseFuture,
    outgoing: Outgoing,
    place: Place,
}

impl Asked {
    /// Sends the head of a request. If the connection takes none any more, the request is back in its place.
    pub(super) fn send(
        place: Place,
        scheme: &Scheme,
        request: Request<RequestBody>,
        back: &mut Option<Request<RequestBody>>,
    ) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let is_empty = body.is_end_stream();
        let sent = place.sender().borrow_mut().send_request(head(&parts, scheme), is_empty);
        let Ok((response, stream)) = sent else {
            *back = Some(Request::from_parts(parts, body));
            return Err(Failure::Unprocessed);
        };
        Ok(Self { parts, response, outgoing: Outgoing::new(stream, body), place })
    }

    /// Waits for the head of the response. Where it does not come, what may be sent again is back in its place.
    pub(super) async fn answer(
        mut self,
        deadline: &Deadline,
        again: &mut Option<Request<RequestBody>>,
    ) -> Result<Response<Answering>, Failure> {
        let response = std::future::poll_fn(|cx| {
            if let Poll::Ready(Err(BadBody)) = self.outgoing.poll(cx) {
                return Poll::Ready(Err(Failure::BadBody));
            }
            match Pin::new(&mut self.response).poll(cx) {
                Poll::Ready(response) => Poll::Ready(response.map_err(|error| self.why(&error))),
                Poll::Pending => deadline.poll(cx).map(|()| Err(Failure::TimedOut(Breach::Silent))),
            }
        });
        match response.await {
            Ok(response) => {
                self.place.answered();
                let Self { outgoing, place, .. } = self;
                let outgoing = outgoing.left();
                let answering = |incoming| Answering { incoming, outgoing, is_reset: false, _place: place };
                Ok(response.map(answering))
            }
            Err(failure) => {
                match failure {
                    Failure::TimedOut(_) => self.place.leave(),
                    Failure::Unprocessed | Failure::Refused => *again = self.whole(),
                    Failure::Broken(_) | Failure::Stale if self.parts.method.is_idempotent() => {
                        *again = self.empty();
                    }
                    _ => {}
                }
                Err(failure)
            }
        }
    }

    fn why(&self, error: &h2::Error) -> Failure {
        match error.reason() {
            _ if !error.is_remote() => self.broken(Breach::of_stream_head(error)),
            // Streams up to the last one that it names are not told of it (RFC 9113 section 6.8).
            _ if error.is_go_away() => Failure::Unprocessed,
            Some(Reason::REFUSED_STREAM) => Failure::Refused,
            _ => Failure::Broken(Breach::of_stream_head(error)),
        }
    }

    /// One that closes while nobody looks at it breaks no rule.
    fn broken(&self, breach: Breach) -> Failure {
        match breach {
            Breach::Closed if self.place.has_answered() => Failure::Stale,
            breach => Failure::Broken(breach),
        }
    }

    /// The request, if all that was sent of its body is still known.
    fn whole(self) -> Option<Request<RequestBody>> {
        Some(Request::from_parts(self.parts, self.outgoing.rewound()?))
    }

    /// The request, if it has no body.
    fn empty(self) -> Option<Request<RequestBody>> {
        self.outgoing.is_empty().then(|| Request::from_parts(self.parts, RequestBody::default()))
    }
}

/// A response's body that is under way, with what is left of the request's.
pub(super) struct Answering {
    incoming: RecvStream,
    outgoing: Option<Box<Outgoing>>,
    /// Whether the endpoint was told that the client broke its request off.
    is_reset: bool,
    _place: Place,
}

type Part = Result<Frame<Bytes>, BrokenOff<h2::Error>>;

impl Answering {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        if let Some(Poll::Ready(sent)) = self.outgoing.as_mut().map(|outgoing| outgoing.poll(cx)) {
            (self.outgoing, self.is_reset) = (None, sent.is_err());
        }
        // What came before it is whole.
        poll_part(&mut self.incoming, cx).map_err(|error| match self.is_reset && is_ours(&error) {
            true => BrokenOff::Request,
            false => BrokenOff::Response(error),
        })
    }
}

/// Whether it is this side that has reset a stream, and not for a fault of the other one's.
fn is_ours(error: &h2::Error) -> bool {
    error.is_reset() && !error.is_remote() && !error.is_library()
}

/// The same, with the turn that ends with it.
pub(super) struct Stream {
    answering: Answering,
    turn: Turn,
}

impl Stream {
    pub(super) fn new(answering: Answering, turn: Turn) -> Self {
        Self { answering, turn }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        let frame = self.answering.poll_frame(cx);
        if let Poll::Ready(Some(Err(BrokenOff::Response(error)))) = &frame {
            self.turn.upstream().breaches.tell(Breach::of_stream_body(error));
        }
        frame
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.answering.incoming.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

/// As HTTP/2 has it: the host in the target, and nothing that belongs to one connection of HTTP/1.1. The client was
/// told to continue.
fn head(parts: &Parts, scheme: &Scheme) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    let mut headers = parts.headers.clone();
    headers.remove(CONNECTION);
    headers.remove(EXPECT);
    if let Some(uri) = target(parts, scheme) {
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        headers.remove(HOST);
    } else {
        // Of a request without a host: the HTTP library sends it without one.
        *request.uri_mut() = parts.uri.clone();
    }
    *request.headers_mut() = headers;
    request
}

fn target(parts: &Parts, scheme: &Scheme) -> Option<Uri> {
    let host = parts.headers.get(HOST)?;
    let mut target = http::uri::Parts::default();
    target.scheme = Some(scheme.clone());
    target.authority = Some(Authority::try_from(host.as_bytes()).ok()?);
    let path = parts.uri.path_and_query().cloned();
    target.path_and_query = Some(path.unwrap_or(PathAndQuery::from_static("/")));
    Uri::from_parts(target).ok()
}
