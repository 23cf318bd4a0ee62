//! Backends: HTTP servers that a handler answers for, and raw ones that may do anything with a connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// A body of a backend's response.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A body with this text.
pub(crate) fn text(text: impl Into<Bytes>) -> Body {
    body_of(Full::new(text.into()))
}

/// Any body.
pub(crate) fn body_of(
    body: impl hyper::body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
) -> Body {
    body.map_err(|never| match never {}).boxed_unsync()
}

/// An HTTP server on loopback. Dropped, it closes everything.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Backend {
    /// Answers each request by this function.
    pub(crate) async fn start<F, A>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut server = JoinSet::new();
        server.spawn(accept(listener, connections.clone(), requests.clone(), handler));
        Self { address, connections, requests, _server: server }
    }

    /// Answers every request with this text.
    pub(crate) async fn says(answer: &'static str) -> Self {
        Self::start(move |_| async move { Response::new(text(answer)) }).await
    }

    /// Answers `/slow` when it is told to, and all else at once.
    pub(crate) async fn slow() -> (Self, Arc<Notify>) {
        let release = Arc::new(Notify::new());
        let released = release.clone();
        let backend = Self::start(move |request| {
            let released = released.clone();
            async move {
                if request.uri().path() == "/slow" {
                    released.notified().await;
                }
                drop(request.into_body().collect().await);
                Response::new(text("done"))
            }
        })
        .await;
        (backend, release)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Requests received so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn accept<F, A>(
    listener: TcpListener,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    handler: F,
) where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let mut serving = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::SeqCst);
        let (handler, requests) = (handler.clone(), requests.clone());
        let service = service_fn(move |request| {
            requests.fetch_add(1, Ordering::SeqCst);
            let answer = handler(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
        serving.spawn(async move { drop(connection.await) });
    }
}

/// A server that does with each connection what a function says, told the connection's number from 0.
pub(crate) struct RawBackend {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl RawBackend {
    pub(crate) async fn start<F, A>(handler: F) -> Self
    where
        F: Fn(usize, TcpStream) -> A + Send + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let connections = Arc::<AtomicUsize>::default();
        let counter = connections.clone();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                serving.spawn(handler(counter.fetch_add(1, Ordering::SeqCst), stream));
            }
        });
        Self { address, connections, _server: server }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
