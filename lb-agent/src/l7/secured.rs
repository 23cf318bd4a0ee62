//! TLS towards endpoints, and a stream to one, with it or without.

mod failure;
mod verified;

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::Instrument;

pub use self::failure::EndpointTlsFailure;
use self::verified::Verified;
use super::coalesce;
use super::tls::TlsError;
use crate::model::{BackendProtocol, BackendTls};

/// How handshakes with endpoints begin, the same for all workers.
#[derive(Clone, Debug)]
pub(super) struct Secured {
    usual: Configs,
    /// For those that want something else; made by the first connection.
    others: Arc<Mutex<HashMap<Arc<BackendTls>, Configs>>>,
}

#[derive(Clone, Debug)]
struct Configs {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

/// A connection to an endpoint.
pub(super) enum EndpointStream {
    /// In the clear.
    Clear(TcpStream),
    /// Over TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl EndpointStream {
    /// Its socket, if what goes over it is in the clear.
    pub(super) fn clear(&self) -> Option<&TcpStream> {
        match self {
            Self::Clear(stream) => Some(stream),
            Self::Tls(_) => None,
        }
    }
}

impl Secured {
    /// For the protocols that there are.
    pub(super) fn new() -> Result<Self, TlsError> {
        let usual = Configs::new(&BackendTls::unverified(String::new()))?;
        Ok(Self { usual, others: Arc::default() })
    }

    /// Makes of a connection what the protocol asks for. An endpoint that chooses no protocol by ALPN may speak
    /// HTTP/1.1; HTTP/2 it has to choose (RFC 9113 section 3.2).
    pub(super) async fn secure(
        &self,
        protocol: &BackendProtocol,
        stream: TcpStream,
    ) -> io::Result<EndpointStream> {
        let Some(tls) = &protocol.tls else { return Ok(EndpointStream::Clear(stream)) };
        let name = ServerName::try_from(tls.server_name.clone()).map_err(io::Error::other)?;
        let configs = if tls.is_usual() { self.usual.clone() } else { self.other(tls)? };
        let config = if protocol.is_http2 { configs.http2 } else { configs.http1 };
        let endpoint = stream.peer_addr()?;
        let connecting = TlsConnector::from(config).connect(name, stream);
        let stream = match &tls.authorities {
            None => connecting.await?,
            // What is said of its certificate names the endpoint.
            Some(_) => connecting.instrument(tracing::warn_span!("handshake", %endpoint)).await?,
        };
        if protocol.is_http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other(rustls::Error::NoApplicationProtocol));
        }
        Ok(EndpointStream::Tls(Box::new(stream)))
    }

    fn other(&self, tls: &Arc<BackendTls>) -> io::Result<Configs> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = others.get(tls) {
            return Ok(known.clone());
        }
        // What only this list still has is of no use.
        others.retain(|known, _| Arc::strong_count(known) > 1);
        let made = Configs::new(tls).map_err(io::Error::other)?;
        others.insert(tls.clone(), made.clone());
        Ok(made)
    }
}

impl Configs {
    fn new(tls: &BackendTls) -> Result<Self, TlsError> {
        Ok(Self { http1: client(tls, b"http/1.1")?, http2: client(tls, b"h2")? })
    }
}

fn client(tls: &BackendTls, alpn: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match &tls.authorities {
        None => Arc::new(Unverified { provider: provider.clone() }),
        Some(authorities) => Arc::new(Verified::new(authorities, provider.clone())?),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &tls.identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let chain = identity.0.chain.iter().map(|der| CertificateDer::from(der.to_vec()));
            // No copy of it, which nobody would clear. That it belongs to the chain, the source has seen.
            let key = PrivateKeyDer::try_from(&*identity.0.key);
            let key = key.map_err(|reason| rustls::Error::General(reason.to_owned()))?;
            let pair = CertifiedKey::new(chain.collect(), any_supported_type(&key)?);
            config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
        }
    };
    config.enable_sni = !tls.hides_name;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}

/// Takes any certificate, of which the endpoint has the key: pods have such as they make themselves.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
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
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl AsyncRead for EndpointStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for EndpointStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => coalesce::poll_write(stream, cx, slices),
            Self::Tls(stream) => coalesce::poll_write(stream, cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
