//! The PROXY header with which a proxy in front of us begins a connection (HAProxy's PROXY protocol, version 1 or 2):
//! not a byte more is read, for TLS or HTTP follows.

use std::io;
use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, by its specification.
const LONGEST_LINE: usize = 107;
/// Of version 2 after the signature: version, family and length.
const FIXED: usize = 4;
/// The longest header of version 2 that is read: addresses, and what proxies add to them.
const LONGEST: usize = 2048;

/// Reads the header. Gives the client's address, or none if the proxy speaks for itself.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    // No header of version 1 is shorter.
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    match header == SIGNATURE {
        true => read_binary(stream, &mut header).await?,
        false => read_line(stream, &mut header).await?,
    }
    client(&header).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

async fn read_binary(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> io::Result<()> {
    let mut fixed = [0; FIXED];
    stream.read_exact(&mut fixed).await?;
    header.extend_from_slice(&fixed);
    let rest = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if rest > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let begun = header.len();
    header.resize(begun + rest, 0);
    stream.read_exact(&mut header[begun..]).await.map(drop)
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> io::Result<()> {
    while !header.ends_with(b"\r\n") {
        if header.len() >= LONGEST_LINE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        header.push(stream.read_u8().await?);
    }
    Ok(())
}

/// `None` if it is no header.
fn client(bytes: &[u8]) -> Option<Option<SocketAddr>> {
    let (header, length) =
        ProxyHeader::parse(bytes, ParseConfig { include_tlvs: false, ..ParseConfig::default() }).ok()?;
    // Where the library ends sooner, the rest would be taken for HTTP.
    (length == bytes.len()).then(|| header.proxied_address().map(|address| address.source))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it says, and what is left to read; or nothing if it is none.
    async fn told(sent: &[u8]) -> Option<(Option<SocketAddr>, usize)> {
        let mut rest = sent;
        read(&mut rest).await.ok().map(|client| (client, rest.len()))
    }

    fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, addresses].concat()
    }

    fn socket(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn both_versions_tell_the_client_and_leave_what_follows() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x9d, 0x79, 1, 0xbb];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        v6[32..34].copy_from_slice(&[0, 80]);
        // Proxies add what else they know.
        let with_more = [&v4[..], &[4, 0, 1, 0]].concat();
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 40313 443\r\n".to_vec(), Some("192.0.2.7:40313")),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 40313 443\r\n".to_vec(), Some("[2001:db8::7]:40313")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (binary(1, 0x11, &v4), Some("192.0.2.7:40313")),
            (binary(1, 0x11, &with_more), Some("192.0.2.7:40313")),
            (binary(1, 0x21, &v6), Some("[2001:db8::]:80")),
            (binary(0, 0, &[]), None),
        ] {
            let sent = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(told(&sent).await, Some((expected.map(socket), 16)), "{header:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_not_taken_for_one() {
        for sent in [
            &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
            b"PROXY TCP4 192.0.2.7 198.51.100.1 443\r\n",
            b"PROXY TCP4 192.0.2.300 198.51.100.1 40313 443\r\n",
            b"PROXY TCP4 192.0.2.7",
            &[b'x'; 200],
            &binary(1, 0x11, &[0; 3]),
            &binary(9, 0x11, &[0; 12]),
            &binary(1, 0x11, &[0; 12])[..20],
            &[&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff], &[0; 70_000]].concat(),
        ] {
            assert_eq!(told(sent).await, None, "{:?}", &sent[..sent.len().min(60)]);
        }
    }
}
