//! Backends: HTTP servers that a handler answers for, and raw ones that may do anything with a connection.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lb_agent::model::KeyKind;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::tables::certificate;

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
    ending: watch::Sender<bool>,
    server: JoinSet<()>,
}

impl Backend {
    /// Answers each request by this function.
    pub(crate) async fn start<F, A>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::speaking(Speaks::default(), handler).await
    }

    /// The same over HTTP/2 in the clear.
    pub(crate) async fn http2<F, A>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::speaking(Speaks { http2: true, tls: None }, handler).await
    }

    /// The same over something else.
    pub(crate) async fn speaking<F, A>(speaks: Speaks, handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (mut server, ending) = (JoinSet::new(), watch::Sender::new(false));
        let told = ending.subscribe();
        server.spawn(accept(speaks, listener, told, connections.clone(), requests.clone(), handler));
        Self { address, connections, requests, ending, server }
    }

    /// Ends as a server does that is told to: it accepts nothing any more, closes what is idle at once, and all else after the
    /// request under way.
    pub(crate) async fn end(mut self) {
        self.ending.send_replace(true);
        self.server.join_next().await.expect("it ran").expect("no panic");
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

/// What a backend speaks: HTTP/1.1 in the clear by default.
#[derive(Clone, Default)]
pub(crate) struct Speaks {
    pub(crate) http2: bool,
    pub(crate) tls: Option<TlsAcceptor>,
}

impl Speaks {
    /// TLS with a certificate that nobody has signed, and these protocols by ALPN.
    pub(crate) fn tls(http2: bool, alpn: &[&str]) -> Self {
        let made = certificate(KeyKind::Ecdsa, &["backend.example.org"]);
        let key = PrivateKeyDer::try_from(made.key.to_vec()).expect("a key");
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(made.chain[0].to_vec())], key)
            .expect("a certificate");
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self { http2, tls: Some(Arc::new(config).into()) }
    }

    /// Serves one connection.
    pub(crate) async fn serve<S>(self, stream: TcpStream, service: S)
    where
        S: HttpService<Incoming, ResBody = Body, Error = Infallible> + 'static,
        S::Future: Send,
    {
        let (_, nobody) = watch::channel(false);
        self.serve_until(stream, nobody, service).await;
    }

    /// The same until it is told to end.
    async fn serve_until<S>(self, stream: TcpStream, ending: watch::Receiver<bool>, service: S)
    where
        S: HttpService<Incoming, ResBody = Body, Error = Infallible> + 'static,
        S::Future: Send,
    {
        match self.tls {
            None => serve(stream, self.http2, ending, service).await,
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    serve(stream, self.http2, ending, service).await;
                }
            }
        }
    }
}

async fn accept<F, A>(
    speaks: Speaks,
    listener: TcpListener,
    mut ending: watch::Receiver<bool>,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    handler: F,
) where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let mut serving = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ending.wait_for(|ends| *ends) => break,
        };
        let Ok((stream, _)) = accepted else { break };
        connections.fetch_add(1, Ordering::SeqCst);
        let (handler, requests) = (handler.clone(), requests.clone());
        let service = service_fn(move |request| {
            requests.fetch_add(1, Ordering::SeqCst);
            let answer = handler(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let (speaks, ending) = (speaks.clone(), ending.clone());
        serving.spawn(async move { speaks.serve_until(stream, ending, service).await });
    }
    drop(listener);
    while serving.join_next().await.is_some() {}
}

async fn serve<IO, S>(stream: IO, http2: bool, mut ending: watch::Receiver<bool>, service: S)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = Body, Error = Infallible> + 'static,
    S::Future: Send,
{
    let io = TokioIo::new(stream);
    // Who is told by nobody goes on.
    let told = async {
        if ending.wait_for(|ends| *ends).await.is_err() {
            pending().await
        }
    };
    if http2 {
        let mut connection = pin!(http2::Builder::new(TokioExecutor::new()).serve_connection(io, service));
        tokio::select! {
            ended = connection.as_mut() => return drop(ended),
            () = told => connection.as_mut().graceful_shutdown(),
        }
        drop(connection.await);
    } else {
        let mut connection = pin!(http1::Builder::new().serve_connection(io, service).with_upgrades());
        tokio::select! {
            ended = connection.as_mut() => return drop(ended),
            () = told => connection.as_mut().graceful_shutdown(),
        }
        drop(connection.await);
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

/// Takes the head of an HTTP/1.1 message, or what comes of it.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { break };
        head.push(byte);
    }
    head
}
