//! A client's connection from accept to close: who it is of, TLS, and the choice of protocol.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::access_log::Session;
use super::admission::Guest;
use super::client::Client;
use super::guard::{Fault, Guarded, Malformed};
use super::limits::Limit;
use super::sniff::sniff;
use super::tls::{self, CertificateIndex, HandshakeFailure, Hello};
use super::worker::Worker;
use super::{http1, http2, proxy_header, refuse};
use crate::model::{Host, ListenerProtocol};

/// Why a connection is not served any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By the rules of HTTP, which has closed our side.
    Http,
    /// A deadline has passed.
    Time,
}

/// How long a client's bytes are taken that nobody wants any more.
const LINGER: Duration = Duration::from_secs(2);

/// What HTTP comes over.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Its socket.
    fn socket(&self) -> &TcpStream;

    /// The same, if what is written goes to it as it is.
    fn clear(&self) -> Option<&TcpStream>;
}

impl Transport for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }

    fn clear(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl Transport for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }

    fn clear(&self) -> Option<&TcpStream> {
        None
    }
}

/// Serves a connection that came in on the listener with this key.
pub(super) async fn serve(
    worker: Rc<Worker>,
    guest: Guest,
    mut stream: TcpStream,
    peer: SocketAddr,
    listener: SocketAddr,
) {
    let Some((protocol, certificates)) = worker.listener(listener) else {
        worker.metrics.stray();
        return;
    };
    let mut client = Client::new(&worker, guest, listener, protocol, peer);
    if worker.config.trust.expects_header(peer.ip()) && !hear_of_client(&mut client, &mut stream).await {
        return;
    }
    let client = Rc::new(client);
    match protocol {
        ListenerProtocol::Http => {
            drop(certificates);
            serve_clear(client, stream).await;
        }
        ListenerProtocol::Https => serve_tls(client, stream, certificates).await,
    }
}

/// Whether the proxy in front of us has said whose connection this is, or that it is its own.
async fn hear_of_client(client: &mut Client, stream: &mut TcpStream) -> bool {
    let taken = match client.within(proxy_header::read(stream)).await {
        Some(Ok(Some(address))) => client.is_of(address).map_err(Fault::from),
        Some(Ok(None)) => Ok(()),
        Some(Err(_)) | None => Err(Malformed::ProxyHeader.into()),
    };
    taken.inspect_err(|fault| refuse::count(client, *fault)).is_ok()
}

async fn serve_clear(client: Rc<Client>, mut stream: TcpStream) {
    let mut read = BytesMut::new();
    let is_http2 = match client.within(sniff(&mut stream, &mut read)).await {
        Some(Ok(is_http2)) => is_http2,
        Some(Err(_)) => return,
        None => {
            client.in_head.set(!read.is_empty());
            return refuse::count_late(&client);
        }
    };
    serve_http(client, stream, read.freeze(), is_http2).await;
}

async fn serve_tls(client: Rc<Client>, stream: TcpStream, certificates: Arc<CertificateIndex>) {
    let made = Box::pin(client.within(shake_hands(&client, stream, &certificates))).await;
    // A connection does not keep the certificates of a state that is gone.
    drop(certificates);
    let stream = match made.unwrap_or(Err(HandshakeFailure::TimeOut.into())) {
        Ok(stream) => stream,
        Err(NoSession::Failed(why)) => return client.worker.refusals.handshake(client.origin.peer(), why),
        Err(NoSession::Refused(limit)) => return refuse::count(&client, limit.into()),
    };
    let (_, session) = stream.get_ref();
    let (version, is_resumed) = tls::outcome(session);
    client.worker.metrics.handshake(version, is_resumed);
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    if let Some(name) = session.server_name().filter(|_| is_http2) {
        client.asked_for.get_or_init(|| Host::normalise(name).into());
    }
    if client.worker.config.access_log.is_some() {
        client.session.get_or_init(|| Session::of(session).into());
    }
    serve_http(client, stream, Bytes::new(), is_http2).await;
}

/// Why there is no TLS session.
enum NoSession {
    Failed(HandshakeFailure),
    Refused(Limit),
}

impl From<HandshakeFailure> for NoSession {
    fn from(why: HandshakeFailure) -> Self {
        Self::Failed(why)
    }
}

impl From<Limit> for NoSession {
    fn from(limit: Limit) -> Self {
        Self::Refused(limit)
    }
}

/// Who says nothing has no place among the handshakes: it costs what any connection does, and counts as one. What a
/// handshake costs begins with the answer.
async fn shake_hands(
    client: &Client,
    stream: TcpStream,
    certificates: &CertificateIndex,
) -> Result<TlsStream<TcpStream>, NoSession> {
    // It costs as much as thirty requests, and what has come of a greeting takes memory before.
    if let Some(limit) = client.worker.overload.refuses() {
        return Err(limit.into());
    }
    let hello = Hello::read(stream).await?;
    let _under_way = client.shake_hands()?;
    Ok(hello.answer(certificates).await?)
}

/// In a place of its own: a connection's task is as large as the largest of its phases, and each has as many as there are
/// connections.
fn serve_http<S>(
    client: Rc<Client>,
    stream: S,
    prefix: Bytes,
    is_http2: bool,
) -> Pin<Box<dyn Future<Output = ()>>>
where
    S: Transport,
{
    let (passage, limits) = (client.passage.clone(), client.worker.config.limits);
    match is_http2 {
        true => Box::pin(http2::serve(client, Guarded::http2(prefix, stream, passage, limits))),
        false => Box::pin(http1::serve(client, Guarded::http1(prefix, stream, passage, limits))),
    }
}

/// Closes our side, then takes what a client still sends, until it closes its own.
pub(super) async fn close(client: &Client, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    client.deadline.set(LINGER);
    // A client that is gone need not be told.
    _ = client.deadline.bound(stream.shutdown()).await;
    linger(client, stream).await;
}

/// Takes what a client still sends after the last response: closing a socket with unread bytes resets the
/// connection, and a reset can overtake the response.
pub(super) async fn linger(client: &Client, mut stream: impl AsyncRead + Unpin) {
    client.deadline.set(LINGER);
    let discard = async { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await };
    drop(client.deadline.bound(discard).await);
}
