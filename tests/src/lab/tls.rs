//! A TLS client over any byte stream, which trusts the lab's authority and nobody else.

use std::io::{Read, Write};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::certificates::Authority;

/// A stream after its handshake.
pub type Stream<S> = StreamOwned<ClientConnection, S>;

/// What trusts an authority and nobody else.
///
/// # Errors
/// If its certificate is none.
pub fn trust(authority: &Authority) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der().to_vec()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Does a handshake with this server name.
///
/// # Errors
/// If the server's certificate is not good for the name, or the connection breaks.
pub fn handshake<S: Read + Write>(authority: &Authority, name: &str, stream: S) -> Result<Stream<S>> {
    handshake_with(&trust(authority)?, name, stream)
}

/// As `handshake`, with what `trust` made: for many.
///
/// # Errors
/// As `handshake`.
pub fn handshake_with<S: Read + Write>(
    config: &Arc<ClientConfig>,
    name: &str,
    stream: S,
) -> Result<Stream<S>> {
    let name = ServerName::try_from(name.to_owned())?;
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(config), name)?, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).context("TLS handshake")?;
    }
    Ok(stream)
}

/// The leaf that the server showed, in DER.
///
/// # Errors
/// If it showed none.
pub fn server_certificate<S: Read + Write>(stream: &Stream<S>) -> Result<Vec<u8>> {
    let chain = stream.conn.peer_certificates().context("the server showed no certificate")?;
    Ok(chain.first().context("the server's chain is empty")?.to_vec())
}
