//! Connections of clients: clear or TLS, anew or resumed. All offer one cipher suite and one group of key exchange, so that
//! every peer does the same work.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Result, ensure};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{cipher_suite::TLS13_AES_128_GCM_SHA256, default_provider, kx_group::X25519};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::super::site::{HOST, Listen, Site};

/// How.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Opens {
    Clear,
    /// As it comes.
    Tls,
    /// With a full handshake.
    TlsAnew,
    /// With the ticket of the client's last connection.
    TlsResumed,
}

/// Opens a client's connections.
pub(crate) struct Opener {
    address: SocketAddr,
    /// Which of this machine's addresses they come from; as the kernel likes, if none.
    source: Option<Ipv4Addr>,
    tls: Option<(TlsConnector, Opens)>,
    /// The kind of handshake that the next connection must have.
    expected: Option<HandshakeKind>,
}

/// A connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Opener {
    /// With a memory of its own for tickets.
    pub(crate) fn new(opens: Opens, alpn: &[u8], listen: Listen, site: &Site) -> Result<Self> {
        if opens == Opens::Clear {
            return Ok(Self { address: listen.http, source: None, tls: None, expected: None });
        }
        let mut config = client(site)?;
        config.alpn_protocols = vec![alpn.to_vec()];
        if opens == Opens::TlsAnew {
            config.resumption = Resumption::disabled();
        }
        let tls = Some((TlsConnector::from(Arc::new(config)), opens));
        Ok(Self { address: listen.https, source: None, tls, expected: None })
    }

    /// From this address.
    pub(crate) fn from(self, source: Ipv4Addr) -> Self {
        Self { source: Some(source), ..self }
    }

    pub(crate) async fn open(&mut self) -> Result<Box<dyn Stream>> {
        let stream = self.connect().await?;
        stream.set_nodelay(true)?;
        let Some((connector, opens)) = &self.tls else { return Ok(Box::new(stream)) };
        let stream = connector.connect(ServerName::try_from(HOST)?, stream).await?;
        let kind = stream.get_ref().1.handshake_kind();
        ensure!(self.expected.is_none() || self.expected == kind, "the handshake was {kind:?}");
        self.expected = match opens {
            Opens::TlsAnew => Some(HandshakeKind::Full),
            Opens::TlsResumed => Some(HandshakeKind::Resumed),
            Opens::Clear | Opens::Tls => None,
        };
        Ok(Box::new(stream))
    }

    async fn connect(&self) -> Result<TcpStream> {
        let Some(source) = self.source else { return Ok(TcpStream::connect(self.address).await?) };
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        Ok(socket.connect(self.address).await?)
    }
}

fn client(site: &Site) -> Result<ClientConfig> {
    let mut provider = default_provider();
    provider.kx_groups = vec![X25519];
    provider.cipher_suites = vec![TLS13_AES_128_GCM_SHA256];
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(site.authority.der().to_vec()))?;
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
