//! The proxy itself: HTTP/1.1 over TLS on both sides, one connection to the API server for each of a client's.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::super::control_plane::ControlPlane;
use super::{Instead, Seen, State, locked};

type Body = Either<Incoming, Full<Bytes>>;

/// The connection to the API server that belongs to a client's, once there is one.
type Connection = Mutex<Option<SendRequest<Incoming>>>;

/// The API server, and who we are for clients.
#[derive(Clone)]
pub(super) struct Upstream {
    address: SocketAddr,
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

impl Upstream {
    pub(super) fn of(control_plane: &ControlPlane) -> Result<Self> {
        let authority = &control_plane.credentials.authority;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.der().to_vec()))?;
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let own = authority.sign(&["127.0.0.1"])?;
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(own.der)],
                PrivateKeyDer::from_pem_slice(own.key.as_bytes())?,
            )?;
        Ok(Self {
            address: control_plane.reachable_at(),
            connector: Arc::new(client).into(),
            acceptor: Arc::new(server).into(),
        })
    }

    async fn connect(&self) -> Result<SendRequest<Incoming>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::from(self.address.ip());
        let stream = self.connector.connect(name, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Serves until the other end of `ended` is dropped.
pub(super) async fn serve(
    listener: StdListener,
    upstream: Upstream,
    state: Arc<State>,
    mut ended: watch::Receiver<()>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ended.changed() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        if !locked(&state.switches).refuses {
            tokio::spawn(until_cut(stream, upstream.clone(), state.clone()));
        }
    }
}

async fn until_cut(stream: TcpStream, upstream: Upstream, state: Arc<State>) {
    let mut cuts = state.cuts.subscribe();
    tokio::select! {
        // A client that breaks off is none of our business.
        _ = connection(stream, &upstream, &state) => {}
        _ = cuts.changed() => {}
    }
}

async fn connection(stream: TcpStream, upstream: &Upstream, state: &State) -> Result<()> {
    stream.set_nodelay(true)?;
    let stream = upstream.acceptor.accept(stream).await?;
    let onward = Connection::default();
    let service =
        service_fn(|request| async { Ok::<_, Infallible>(answer(request, upstream, &onward, state).await) });
    http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}

async fn answer(
    request: Request<Incoming>,
    upstream: &Upstream,
    onward: &Connection,
    state: &State,
) -> Response<Body> {
    let (delay, instead) = chosen(&request, state);
    let mut seen = seen(&request);
    let response = match instead {
        Some(Instead::Answer(status)) => refusal(status),
        Some(Instead::ExpiredWatch) => expired_watch(),
        None => match forward(request, upstream, onward).await {
            Ok(response) => response.map(Either::Left),
            Err(error) => status(503, "ServiceUnavailable", &format!("{error:#}")),
        },
    };
    tokio::time::sleep(delay).await;
    seen.status = response.status().as_u16();
    locked(&state.seen).push(seen);
    response
}

fn chosen(request: &Request<Incoming>, state: &State) -> (Duration, Option<Instead>) {
    let switches = locked(&state.switches);
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let rule = switches.instead.iter().find(|(matching, _)| matching.holds(request.method(), path, query));
    (switches.delay, rule.map(|(_, instead)| *instead))
}

fn seen(request: &Request<Incoming>) -> Seen {
    let agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    Seen {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        user_agent: agent.unwrap_or_default().to_owned(),
        status: 0,
    }
}

async fn forward(
    mut request: Request<Incoming>,
    upstream: &Upstream,
    onward: &Connection,
) -> Result<Response<Incoming>> {
    request.headers_mut().insert(header::HOST, HeaderValue::from_str(&upstream.address.to_string())?);
    let mut onward = onward.lock().await;
    let sender = match onward.take() {
        Some(sender) if !sender.is_closed() => sender,
        _ => upstream.connect().await.context("the API server is not there")?,
    };
    let sender = onward.insert(sender);
    sender.ready().await?;
    sender.send_request(request).await.context("the API server does not answer")
}

fn refusal(code: u16) -> Response<Body> {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let mut response = status(code, reason, "the test wants it so");
    if code == 429 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn expired_watch() -> Response<Body> {
    let event = json!({ "type": "ERROR", "object": failure(410, "Expired", "too old resource version") });
    json_response(200, &event)
}

fn status(code: u16, reason: &str, message: &str) -> Response<Body> {
    json_response(code, &failure(code, reason, message))
}

fn failure(code: u16, reason: &str, message: &str) -> serde_json::Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message,
    })
}

fn json_response(code: u16, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::from(format!("{body}\n"))));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
