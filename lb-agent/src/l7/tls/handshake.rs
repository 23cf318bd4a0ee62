//! A handshake: the name that the client asks for is read first, and says how it goes on.

use rustls::server::{Acceptor, ServerConnection};
use rustls::{HandshakeKind, ProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::failure::HandshakeFailure;
use super::index::CertificateIndex;
use crate::model::TlsVersion;

/// What is encrypted and waits for its client to read: one record of the largest size.
const UNSENT: usize = 16 * 1024;

/// What a client begins with, once all of it has come.
pub(in crate::l7) struct Hello(StartHandshake<TcpStream>);

impl Hello {
    /// Waits for it. Its time is the caller's to limit, and so is that of the rest.
    pub(in crate::l7) async fn read(stream: TcpStream) -> Result<Self, HandshakeFailure> {
        let read = LazyConfigAcceptor::new(Acceptor::default(), stream).await;
        read.map(Self).map_err(|error| HandshakeFailure::of(&error))
    }

    /// Makes the handshake with whatever certificate the client's name has.
    pub(in crate::l7) async fn answer(
        self,
        index: &CertificateIndex,
    ) -> Result<TlsStream<TcpStream>, HandshakeFailure> {
        let config = index.config(&self.0.client_hello());
        let made = self.0.into_stream(config).await;
        let mut stream = made.map_err(|error| HandshakeFailure::of(&error))?;
        stream.get_mut().1.set_buffer_limit(Some(UNSENT));
        Ok(stream)
    }
}

/// What was agreed on, for metrics: the version, and whether an earlier session is resumed.
pub(in crate::l7) fn outcome(session: &ServerConnection) -> (TlsVersion, bool) {
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => TlsVersion::V1_2,
        _ => TlsVersion::V1_3,
    };
    (version, session.handshake_kind() == Some(HandshakeKind::Resumed))
}
