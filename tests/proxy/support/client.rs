//! Clients: HTTP/1.1 and HTTP/2 connections with hyper, in the clear or over TLS, and raw bytes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A request's body.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn read(response: Response<Incoming>) -> hyper::Result<Self> {
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Self { status: parts.status, headers: parts.headers, body })
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// A header's value, empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }
}

/// A GET without more than a Host.
pub(crate) fn request(host: &str, path: &str) -> Request<Body> {
    Request::builder().uri(path).header("host", host).body(Empty::new().boxed_unsync()).expect("request")
}

/// One HTTP connection to the proxy.
pub(crate) enum Http {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

impl Http {
    pub(crate) async fn one(address: SocketAddr) -> Self {
        Self::one_over(TcpStream::connect(address).await.expect("connect")).await
    }

    pub(crate) async fn two(address: SocketAddr) -> Self {
        Self::two_over(TcpStream::connect(address).await.expect("connect")).await
    }

    pub(crate) async fn one_over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await.expect("HTTP/1.1");
        tokio::spawn(connection.with_upgrades());
        Self::One(sender)
    }

    pub(crate) async fn two_over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.expect("HTTP/2");
        tokio::spawn(connection);
        Self::Two(sender)
    }

    /// Sends a request; the response's body is still to be read.
    pub(crate) async fn begin(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Sends a request and reads the response.
    pub(crate) async fn send(&mut self, request: Request<Body>) -> Answer {
        let response = self.begin(request).await.expect("a response");
        Answer::read(response).await.expect("a whole body")
    }

    /// A GET in a connection of its own.
    pub(crate) async fn get(address: SocketAddr, host: &str, path: &str) -> Answer {
        Self::one(address).await.send(request(host, path)).await
    }
}

/// Sends bytes and reads what comes until the proxy closes.
pub(crate) async fn raw_exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream.write_all(bytes).await.expect("send");
    let mut answer = Vec::new();
    // A reset after the answer is as good as a close.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A TLS connection that accepts any certificate, to look at it.
pub(crate) async fn connect_tls(
    address: SocketAddr,
    name: &str,
    alpn: &[&str],
    schemes: Vec<SignatureScheme>,
) -> TlsStream<TcpStream> {
    connect_tls_over(TcpStream::connect(address).await.expect("connect"), name, alpn, schemes).await
}

/// The same over a connection that is open.
pub(crate) async fn connect_tls_over(
    stream: TcpStream,
    name: &str,
    alpn: &[&str],
    schemes: Vec<SignatureScheme>,
) -> TlsStream<TcpStream> {
    let config = tls_client(rustls::DEFAULT_VERSIONS, alpn, schemes);
    let name = ServerName::try_from(name.to_owned()).expect("name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("handshake")
}

/// A TLS client that accepts any certificate.
pub(crate) fn tls_client(
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
    schemes: Vec<SignatureScheme>,
) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(AcceptAny { provider: provider.clone(), schemes, staples: Mutex::default() });
    tls_client_with(provider, verifier, versions, alpn)
}

/// One that notes the OCSP responses that it is shown, empty ones included.
pub(crate) fn noting_staples(version: &'static SupportedProtocolVersion) -> (ClientConfig, Arc<AcceptAny>) {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let (schemes, staples) = (all_schemes(), Mutex::default());
    let verifier = Arc::new(AcceptAny { provider: provider.clone(), schemes, staples });
    (tls_client_with(provider, verifier.clone(), &[version], &[]), verifier)
}

/// One of TLS 1.3 that exchanges keys in this way alone.
pub(crate) fn exchanging_keys(group: &'static dyn SupportedKxGroup) -> ClientConfig {
    let provider = CryptoProvider { kx_groups: vec![group], ..aws_lc_rs::default_provider() };
    let provider = Arc::new(provider);
    let (schemes, staples) = (all_schemes(), Mutex::default());
    let verifier = Arc::new(AcceptAny { provider: provider.clone(), schemes, staples });
    tls_client_with(provider, verifier, &[&TLS13], &[])
}

fn tls_client_with(
    provider: Arc<CryptoProvider>,
    verifier: Arc<AcceptAny>,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

/// The certificate that the proxy showed.
pub(crate) fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().expect("certificates")[0].to_vec()
}

/// Every scheme that the provider can verify.
pub(crate) fn all_schemes() -> Vec<SignatureScheme> {
    aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
}

/// Takes a server for whom it says it is.
#[derive(Debug)]
pub(crate) struct AcceptAny {
    provider: Arc<CryptoProvider>,
    schemes: Vec<SignatureScheme>,
    staples: Mutex<Vec<Vec<u8>>>,
}

impl AcceptAny {
    /// The OCSP responses that came, one of each full handshake.
    pub(crate) fn staples(&self) -> Vec<Vec<u8>> {
        self.staples.lock().expect("no panic").clone()
    }
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.staples.lock().expect("no panic").push(ocsp.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
