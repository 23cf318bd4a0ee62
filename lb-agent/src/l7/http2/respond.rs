//! The task of one stream: its request's answer is waited for and sent, as fast as the client gives it room.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame};

use super::super::body::{Body, BodyError};
use super::super::date::Date;
use super::super::incoming::Continue;
use super::super::parts::poll_room;
use super::super::reply::CONTINUE;
use super::tunnel::Opener;

/// What of a request says how it is answered.
pub(super) struct Asked {
    /// Its answer has no body.
    pub(super) is_head: bool,
    pub(super) continues: Option<Continue>,
    pub(super) opener: Option<Opener>,
}

/// Waits for the answer and sends it. Dropped before its end, the stream is reset.
pub(super) async fn respond<F>(
    mut answer: Pin<Box<F>>,
    mut stream: SendResponse<Bytes>,
    asked: Asked,
    date: &Date,
) where
    F: Future<Output = Response<Body>>,
{
    let Asked { is_head, mut continues, opener } = asked;
    let answered = std::future::poll_fn(|cx| {
        if let Poll::Ready(response) = answer.as_mut().poll(cx) {
            return Poll::Ready(Some(response));
        }
        if continues.take_if(|continues| continues.is_wanted()).is_some() {
            // If it cannot be sent, the stream is no more.
            _ = stream.send_informational(go_on());
        }
        // Nobody waits for it any more.
        stream.poll_reset(cx).map(|_| None)
    });
    let Some(response) = answered.await else { return };
    // It is large, and a response may take long to be read.
    drop(answer);
    let (mut parts, mut body) = response.into_parts();
    date.tell(&mut parts.headers);
    let opener = opener.filter(|_| parts.status.is_success());
    let is_empty = opener.is_none() && body.is_end_stream();
    if !is_empty && let Some(length) = body.size_hint().exact().filter(|_| opener.is_none()) {
        parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    if is_head {
        body.leave();
    }
    let is_last = is_empty || is_head;
    let Ok(outgoing) = stream.send_response(Response::from_parts(parts, ()), is_last) else {
        return stream.send_reset(Reason::INTERNAL_ERROR);
    };
    match opener {
        Some(opener) => opener.open(outgoing),
        None if is_last => {}
        None => Sending { outgoing, body, waiting: None }.await,
    }
}

fn go_on() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = CONTINUE;
    response
}

/// A response's body on its way.
struct Sending {
    outgoing: SendStream<Bytes>,
    body: Body,
    /// What the client gives no room for yet, and whether it is the last part.
    waiting: Option<(Bytes, bool)>,
}

impl Sending {
    /// Sends what comes. Ready when nothing more is to be sent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some((part, _)) = &self.waiting {
                let needs_room = !part.is_empty();
                if needs_room && !matches!(ready!(poll_room(&mut self.outgoing, cx)), Some(Ok(()))) {
                    return Poll::Ready(());
                }
            }
            if let Some((part, is_last)) = self.waiting.take() {
                // What there is no room for of it waits with the HTTP library.
                if self.outgoing.send_data(part, is_last).is_err() || is_last {
                    return Poll::Ready(());
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Some(trailers) = self.take(frame) {
                        // If they cannot be sent, the stream is no more.
                        _ = self.outgoing.send_trailers(trailers);
                        return Poll::Ready(());
                    }
                }
                Some(Err(error)) => {
                    self.outgoing.send_reset(reason(&error));
                    return Poll::Ready(());
                }
                None => {
                    _ = self.outgoing.send_data(Bytes::new(), true);
                    return Poll::Ready(());
                }
            }
        }
    }

    /// The next of it: a part waits for room, trailers come back.
    fn take(&mut self, frame: Frame<Bytes>) -> Option<HeaderMap> {
        match frame.into_data() {
            Ok(part) => {
                let is_last = self.body.is_end_stream();
                if !part.is_empty() || is_last {
                    // A claim on the connection's room that keeps little from other streams: with the part itself comes more.
                    self.outgoing.reserve_capacity(usize::from(!part.is_empty()));
                    self.waiting = Some((part, is_last));
                }
                None
            }
            Err(frame) => {
                self.outgoing.reserve_capacity(0);
                frame.into_trailers().ok()
            }
        }
    }
}

impl Future for Sending {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.poll_send(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            // Whoever waits hears that nobody wants it any more.
            Poll::Pending => self.outgoing.poll_reset(cx).map(drop),
        }
    }
}

/// A client that speaks HTTP/2 hears what its endpoint said, if that does, too.
fn reason(error: &BodyError) -> Reason {
    match error {
        BodyError::Http2(error) => error.reason().unwrap_or(Reason::INTERNAL_ERROR),
        BodyError::Request | BodyError::Http1(_) | BodyError::Quiet => Reason::INTERNAL_ERROR,
    }
}
