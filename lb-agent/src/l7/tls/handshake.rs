//! A handshake: the name that the client asks for is read first, and says how it goes on.

use std::io;

use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::index::CertificateIndex;

/// Makes the handshake with whatever certificate the client's name has. Its time is the caller's to limit.
pub(in crate::l7) async fn shake_hands(
    stream: TcpStream,
    index: &CertificateIndex,
) -> io::Result<TlsStream<TcpStream>> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let config = index.config(&hello.client_hello());
    hello.into_stream(config).await
}
