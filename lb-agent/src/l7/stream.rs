//! A request and its response on an HTTP/2 connection to an endpoint. Both bodies move within the task that waits for
//! the response, frame by frame; dropped before its end, the stream is reset.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, EXPECT, HOST};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use http_body::{Body as _, Frame, SizeHint};

use super::body::RequestBody;
use super::breach::Breach;
use super::deadline::Deadline;
use super::endpoint::{BrokenOff, Failure};
use super::forwarded::Origin;
use super::inbox::Inbox;
use super::multiplex::Place;
use super::outgoing::{BadBody, Outgoing};
use super::parts::poll_part;
use super::upstream::Turn;

/// A request that has been sent, but for the rest of its body.
pub(super) struct Asked {
    response: ResponseFuture,
    outgoing: Outgoing,
    place: Place,
}

impl Asked {
    /// Sends the head of a request, and takes its body. If the connection takes none any more, the request has it still.
    pub(super) fn send(
        place: Place,
        scheme: &Scheme,
        origin: &Origin,
        request: &mut Request<RequestBody>,
    ) -> Result<Self, Failure> {
        let is_empty = request.body().is_end_stream();
        let sent = place.sender().borrow_mut().send_request(head(request, origin, scheme), is_empty);
        let Ok((response, stream)) = sent else { return Err(Failure::Unprocessed) };
        let outgoing = Outgoing::new(stream, mem::take(request.body_mut()));
        Ok(Self { response, outgoing, place })
    }

    /// Waits for the head of the response.
    pub(super) async fn answer(&mut self, deadline: &Deadline) -> Result<Response<RecvStream>, Failure> {
        std::future::poll_fn(|cx| {
            if let Poll::Ready(Err(BadBody)) = self.outgoing.poll(cx) {
                return Poll::Ready(Err(Failure::BadBody));
            }
            match Pin::new(&mut self.response).poll(cx) {
                Poll::Ready(response) => Poll::Ready(response.map_err(|error| self.why(&error))),
                Poll::Pending => deadline.poll(cx).map(|()| Err(Failure::TimedOut(Breach::Silent))),
            }
        })
        .await
    }

    /// It came.
    pub(super) fn answered(self, response: Response<RecvStream>) -> Response<Answering> {
        let Self { outgoing, place, .. } = self;
        place.answered();
        let outgoing = outgoing.left();
        response.map(|incoming| {
            let incoming = place.inboxes().open(incoming);
            Answering { incoming, outgoing, is_reset: false, _place: place }
        })
    }

    /// It was waited for in vain: no new request goes over the connection.
    pub(super) fn leave(&self) {
        self.place.leave();
    }

    /// It did not come. The request's body, if the request may be sent once more.
    pub(super) fn again(self, failure: &Failure, is_idempotent: bool) -> Option<RequestBody> {
        match failure {
            // If all that was sent of it is still known.
            Failure::Unprocessed | Failure::Refused => self.outgoing.rewound(),
            Failure::Broken(_) | Failure::Stale if is_idempotent && self.outgoing.is_empty() => {
                Some(RequestBody::default())
            }
            _ => None,
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
}

/// A response's body that is under way, with what is left of the request's.
pub(super) struct Answering {
    incoming: Inbox,
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
            self.tell(Breach::of_stream_body(error));
        }
        frame
    }

    /// The endpoint broke the rules so.
    pub(super) fn tell(&self, breach: Breach) {
        self.turn.upstream().breaches.tell(breach);
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
fn head(asked: &Request<RequestBody>, origin: &Origin, scheme: &Scheme) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = asked.method().clone();
    let mut headers = asked.headers().clone();
    origin.tell(&mut headers);
    headers.remove(CONNECTION);
    headers.remove(EXPECT);
    if let Some(uri) = target(asked, scheme) {
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        headers.remove(HOST);
    } else {
        // Of a request without a host: the HTTP library sends it without one.
        *request.uri_mut() = asked.uri().clone();
    }
    *request.headers_mut() = headers;
    request
}

fn target(asked: &Request<RequestBody>, scheme: &Scheme) -> Option<Uri> {
    let host = asked.headers().get(HOST)?;
    let mut target = http::uri::Parts::default();
    target.scheme = Some(scheme.clone());
    target.authority = Some(Authority::try_from(host.as_bytes()).ok()?);
    let path = asked.uri().path_and_query().cloned();
    target.path_and_query = Some(path.unwrap_or(PathAndQuery::from_static("/")));
    Uri::from_parts(target).ok()
}
