//! One HTTP/1.1 connection to an endpoint. Nobody else drives it: whoever waits for its response does, within
//! his own task, so that a request costs no second task and no wake-up between two.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::RequestBody;
use super::deadline::{Deadline, Deadlines};

/// A connection's IO.
pub(super) type Io = TokioIo<TcpStream>;

/// A connection to an endpoint, on which one request at a time is under way.
pub(super) struct EndpointConnection {
    /// The endpoint.
    pub(super) address: SocketAddr,
    /// For the response that is waited for.
    pub(super) deadline: Rc<Deadline>,
    /// When it was last used, in ticks of the worker's deadlines.
    pub(super) used_at: u64,
    sender: SendRequest<RequestBody>,
    /// Dropped as soon as it has ended, so that whoever waits for it hears of it.
    connection: Option<Connection<Io, RequestBody>>,
}

/// Why no response came.
pub(super) enum Failure {
    /// Nothing of the request was sent.
    NotSent(Box<Request<RequestBody>>),
    /// The connection broke, or what came was not HTTP.
    Broken,
    /// The deadline passed.
    TimedOut,
}

impl EndpointConnection {
    /// Over a connected socket.
    pub(super) async fn new(
        address: SocketAddr,
        stream: TcpStream,
        deadlines: &Rc<Deadlines>,
    ) -> hyper::Result<Self> {
        let (sender, connection) = Builder::new().handshake(TokioIo::new(stream)).await?;
        let deadline = Rc::new(Deadline::new(deadlines));
        Ok(Self { address, deadline, used_at: 0, sender, connection: Some(connection) })
    }

    /// Sends a request and waits for the head of its response. The body needs `drive` to come in.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut response = std::pin::pin!(self.sender.try_send_request(request));
        std::future::poll_fn(|cx| {
            drive(&mut self.connection, cx);
            if let Poll::Ready(result) = response.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(|mut error| match error.take_message() {
                    Some(request) => Failure::NotSent(Box::new(request)),
                    None => Failure::Broken,
                }));
            }
            self.deadline.poll(cx).map(|()| Err(Failure::TimedOut))
        })
        .await
    }

    /// Reads and writes what can be read and written now.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.connection, cx);
    }

    /// Whether the next request could go over it. Finishes the last one, and forgets the task that waited.
    pub(super) fn is_reusable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }
}

fn drive(connection: &mut Option<Connection<Io, RequestBody>>, cx: &mut Context<'_>) {
    // Its errors come out where the response or its body is waited for.
    if connection.as_mut().is_some_and(|connection| Pin::new(connection).poll(cx).is_ready()) {
        *connection = None;
    }
}
