//! A handshake: the name that the client asks for is read first, and says how it goes on.

use rustls::server::{Acceptor, ServerConnection};
use rustls::{HandshakeKind, ProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::failure::HandshakeFailure;
use super::index::CertificateIndex;
use crate::model::TlsVersion;

/// What is encrypted and waits for its client to read: one record of the largest size.
const UNSENT: usize = 16 * 1024;

/// Makes the handshake with whatever certificate the client's name has. Its time is the caller's to limit.
pub(in crate::l7) async fn shake_hands(
    stream: TcpStream,
    index: &CertificateIndex,
) -> Result<TlsStream<TcpStream>, HandshakeFailure> {
    let why = |error| HandshakeFailure::of(&error);
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(why)?;
    let config = index.config(&hello.client_hello());
    let mut stream = hello.into_stream(config).await.map_err(why)?;
    stream.get_mut().1.set_buffer_limit(Some(UNSENT));
    Ok(stream)
}

/// What was agreed on, for metrics: the version, and whether an earlier session is resumed.
pub(in crate::l7) fn outcome(session: &ServerConnection) -> (TlsVersion, bool) {
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => TlsVersion::V1_2,
        _ => TlsVersion::V1_3,
    };
    (version, session.handshake_kind() == Some(HandshakeKind::Resumed))
}
