//! One HTTP/1.1 connection to an endpoint. Nobody else drives it: whoever waits for its response does, within
//! his own task, so that a request costs no second task and no wake-up between two.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::coop::unconstrained;

use super::body::RequestBody;
use super::breach::{Breach, Breaches};
use super::coalesce::Coalesced;
use super::deadline::{Deadline, Deadlines};
use super::secured::EndpointStream;

/// Largest head of a response, and what is read of its body at once: what a client that does not read can hold, twice over
/// with HTTP/2.
const BUFFER: usize = 32 * 1024;

/// A connection's IO.
pub(super) type Io = TokioIo<Coalesced<EndpointStream>>;

/// A connection to an endpoint, on which one request at a time is under way.
pub(super) struct EndpointConnection {
    /// For the response that is waited for.
    pub(super) deadline: Rc<Deadline>,
    /// When it was last used, in ticks of the worker's deadlines.
    pub(super) used_at: u64,
    sender: SendRequest<RequestBody>,
    /// Dropped as soon as it has ended, so that whoever waits for it hears of it.
    connection: Option<Connection<Io, RequestBody>>,
    breaches: Rc<Breaches>,
    /// Whether it ended because the request's body could not be had.
    has_bad_body: bool,
}

/// Why no response came.
pub(super) enum Failure {
    /// Nothing of the request was sent: it is back in its place.
    NotSent,
    /// The endpoint ends the connection and has not looked at the request.
    Unprocessed,
    /// The endpoint takes no request more for now and has not looked at this one.
    Refused,
    /// The connection broke, or what came was not HTTP.
    Broken(Breach),
    /// The connection had been idle and was closed while the request was on its way: so it is kept or closed anywhere.
    Stale,
    /// The request's own body could not be had: nothing is wrong with the endpoint.
    BadBody,
    /// The client did not send the request's body in time: nothing is wrong with the endpoint.
    SlowBody,
    /// The deadline passed.
    TimedOut(Breach),
}

impl EndpointConnection {
    /// Over a stream that is ready.
    pub(super) async fn new(
        stream: EndpointStream,
        deadlines: &Rc<Deadlines>,
        breaches: &Rc<Breaches>,
    ) -> hyper::Result<Self> {
        let (sender, connection) =
            Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(Coalesced(stream))).await?;
        let deadline = Rc::new(Deadline::new(deadlines));
        let (connection, breaches) = (Some(connection), breaches.clone());
        Ok(Self { deadline, used_at: 0, sender, connection, breaches, has_bad_body: false })
    }

    /// Sends the request that is in this place and waits for the head of its response. The body needs `drive`
    /// to come in.
    pub(super) async fn send(
        &mut self,
        place: &mut Option<Request<RequestBody>>,
    ) -> Result<Response<Incoming>, Failure> {
        let Some(request) = place.take() else { return Err(Failure::Stale) };
        // Driving the connection is what makes the response ready: it need not wake us to see it a second time.
        // So it must not wait for a wake-up of its own either, as a used-up budget would make it do.
        let mut response = std::pin::pin!(unconstrained(self.sender.try_send_request(request)));
        let mut unwoken = Context::from_waker(Waker::noop());
        std::future::poll_fn(|cx| {
            let ended = drive(&mut self.connection, cx);
            if let Some(breach) = ended.as_ref().and_then(Breach::of_connection) {
                self.breaches.tell(breach);
            }
            match response.as_mut().poll(&mut unwoken) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(mut error)) => {
                    *place = error.take_message();
                    let error = error.error();
                    Poll::Ready(Err(match place {
                        Some(_) => {
                            Breach::of_unsent(error).inspect(|breach| self.breaches.tell(*breach));
                            Failure::NotSent
                        }
                        None if error.is_user() => Failure::BadBody,
                        None => Failure::Broken(Breach::of_head(error)),
                    }))
                }
                Poll::Pending => {
                    self.deadline.poll(cx).map(|()| Err(Failure::TimedOut(silence(&mut self.connection))))
                }
            }
        })
        .await
    }

    /// Reads and writes what can be read and written now.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        let Some(error) = drive(&mut self.connection, cx) else { return };
        self.has_bad_body = error.is_user();
        if let Some(breach) = Breach::of_connection(&error) {
            self.breaches.tell(breach);
        }
    }

    /// The body of a response broke off with this error.
    pub(super) fn broke(&self, error: &hyper::Error) {
        // Where the client's own body broke off, its connection goes, and the response with it.
        if !self.has_bad_body {
            self.breaches.tell(Breach::of_body(error));
        }
    }

    /// Whether the next request could go over it, as far as is known.
    pub(super) fn is_reusable(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Finishes the last exchange, hears of a close, and forgets the task that waited.
    pub(super) fn refresh(&mut self) {
        self.drive(&mut Context::from_waker(Waker::noop()));
    }
}

/// What is wrong, if the connection ends for something that nobody else hears of: most errors come out where the
/// response or its body is waited for.
fn drive(connection: &mut Option<Connection<Io, RequestBody>>, cx: &mut Context<'_>) -> Option<hyper::Error> {
    let Poll::Ready(ended) = Pin::new(connection.as_mut()?).poll(cx) else { return None };
    *connection = None;
    ended.err()
}

/// What was waited for in vain: a response, or the rest of its head. The connection ends with that.
fn silence(connection: &mut Option<Connection<Io, RequestBody>>) -> Breach {
    let unread = connection.take().map(|connection| connection.into_parts().read_buf);
    if unread.is_some_and(|unread| !unread.is_empty()) { Breach::SlowHead } else { Breach::Silent }
}
