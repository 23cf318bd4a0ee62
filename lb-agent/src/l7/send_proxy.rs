//! PROXY headers to endpoints: the first that comes over a connection says whose it is.

use std::io;
use std::net::{IpAddr, SocketAddr};

use proxy_header::{ProxiedAddress, ProxyHeader};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::keepalive;
use crate::model::{BackendProtocol, ProxyVersion};

/// The ends of a client's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// The client, by its own word or that of a proxy in front of us.
    pub(super) client: SocketAddr,
    /// Where it connected to.
    pub(super) listener: SocketAddr,
}

/// A connection to an endpoint, with the header that its protocol begins with, if any; whose it is, if it is a client's.
pub(super) async fn connect(
    address: SocketAddr,
    protocol: &BackendProtocol,
    ends: Option<Ends>,
) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    keepalive::watch(&stream)?;
    if let Some(version) = protocol.proxy_header {
        stream.write_all(&header(version, ends)).await?;
    }
    Ok(stream)
}

/// The header for a connection; of one that is nobody's but ours it says just that. Empty if it cannot be written,
/// which does not happen with addresses.
fn header(version: ProxyVersion, ends: Option<Ends>) -> Vec<u8> {
    let header = match ends {
        None => ProxyHeader::with_local(),
        Some(Ends { client, listener }) => {
            let (client, listener) = of_one_family(client, listener);
            ProxyHeader::with_address(ProxiedAddress::stream(client, listener))
        }
    };
    let mut bytes = Vec::new();
    _ = match version {
        ProxyVersion::V1 => header.encode_v1(&mut bytes),
        ProxyVersion::V2 => header.encode_v2(&mut bytes),
    };
    bytes
}

/// A header has two of one: where one is IPv6, the other is written as such.
fn of_one_family(one: SocketAddr, other: SocketAddr) -> (SocketAddr, SocketAddr) {
    let (plain, others) = (canonical(one), canonical(other));
    if plain.is_ipv4() == others.is_ipv4() { (plain, others) } else { (mapped(plain), mapped(others)) }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn endpoints_are_looked_after() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let stream = connect(address, &BackendProtocol::default(), None).await.expect("connect");
        assert!(keepalive::is_watched(&stream));
    }

    #[test]
    fn the_first_line_says_whose_a_connection_is() {
        for (client, listener, expected) in [
            ("192.0.2.1:1000", "203.0.113.1:80", "PROXY TCP4 192.0.2.1 203.0.113.1 1000 80\r\n"),
            ("[::ffff:192.0.2.1]:1", "203.0.113.1:80", "PROXY TCP4 192.0.2.1 203.0.113.1 1 80\r\n"),
            ("[2001:db8::1]:1", "[2001:db8::2]:443", "PROXY TCP6 2001:db8::1 2001:db8::2 1 443\r\n"),
            ("[2001:db8::1]:1", "203.0.113.1:80", "PROXY TCP6 2001:db8::1 ::ffff:203.0.113.1 1 80\r\n"),
        ] {
            let ends = Ends { client: address(client), listener: address(listener) };
            let text = header(ProxyVersion::V1, Some(ends));
            assert_eq!(String::from_utf8_lossy(&text), expected);
        }
        assert_eq!(header(ProxyVersion::V1, None), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn the_binary_header_says_the_same() {
        let ends = Ends { client: address("192.0.2.1:1000"), listener: address("203.0.113.1:80") };
        let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        expected.extend([192, 0, 2, 1, 203, 0, 113, 1, 3, 232, 0, 80]);
        assert_eq!(header(ProxyVersion::V2, Some(ends)), expected);
        assert_eq!(header(ProxyVersion::V2, None)[12], 0x20, "LOCAL");
    }
}
