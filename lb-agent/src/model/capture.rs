//! What can be captured of the packet path: which packets, and what is told of each.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use thiserror::Error;

/// Which packets are captured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaptureFilter {
    /// Where they come from.
    pub from: Option<CaptureEnd>,
    /// Where they go to.
    pub to: Option<CaptureEnd>,
    /// Their protocol.
    pub protocol: Option<CaptureProtocol>,
    /// What becomes of them: a bit for the number of each verdict.
    pub verdicts: u64,
    /// One in so many, not 0.
    pub sample: u32,
    /// So many bytes of each.
    pub snap: u32,
    /// So many in all.
    pub count: u64,
}

/// One end of packets: an address or a network, and maybe a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CaptureEnd {
    /// The addresses.
    pub addresses: IpNet,
    /// The port, not 0.
    pub port: Option<u16>,
}

/// A protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CaptureProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6.
    Icmp,
}

/// A packet, and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Captured {
    /// When it came in, since 1970.
    pub at: Duration,
    /// The interface that it came in on.
    pub interface: String,
    /// The verdict's number.
    pub verdict: u32,
    /// To whom it was sent, if it was sent to a member.
    pub hop: Option<Hop>,
    /// The start of the frame as it came in.
    pub packet: Vec<u8>,
    /// The frame's length.
    pub length: u32,
}

/// A member of a packet's chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hop {
    /// Its id.
    pub member: u16,
    /// Its place in the row, from 1 on.
    pub place: u8,
    /// Members in the row.
    pub of: u8,
}

impl CaptureProtocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Icmp];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

/// A text that is no end of packets.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error(
    "{text:?} is no address: write 192.0.2.7, 192.0.2.0/24, 192.0.2.7:443, 2001:db8::7 or [2001:db8::/64]:443"
)]
pub struct InvalidEnd {
    text: String,
}

impl FromStr for CaptureEnd {
    type Err = InvalidEnd;

    fn from_str(text: &str) -> Result<Self, InvalidEnd> {
        let invalid = || InvalidEnd { text: text.to_owned() };
        let (addresses, port) = parts(text).ok_or_else(invalid)?;
        let host = |address: IpAddr| IpNet::from(address);
        let addresses = addresses.parse().or_else(|_| addresses.parse().map(host)).map_err(|_| invalid())?;
        let port = match port.map(str::parse) {
            None => None,
            Some(Ok(port)) if port != 0 => Some(port),
            Some(_) => return Err(invalid()),
        };
        Ok(Self { addresses, port })
    }
}

/// Addresses and port: colons are parts of an IPv6 address that has no brackets.
fn parts(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (addresses, rest) = rest.split_once(']')?;
        let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
        return addresses.contains(':').then_some((addresses, port));
    }
    match text.split_once(':') {
        Some((addresses, port)) if !port.contains(':') => Some((addresses, Some(port))),
        _ => Some((text, None)),
    }
}

impl fmt::Display for CaptureEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addresses, port } = *self;
        let is_host = addresses.prefix_len() == addresses.max_prefix_len();
        match (is_host, port, addresses) {
            (true, None, _) => write!(f, "{}", addresses.addr()),
            (true, Some(port), _) => write!(f, "{}", SocketAddr::new(addresses.addr(), port)),
            (false, None, _) => write!(f, "{addresses}"),
            (false, Some(port), IpNet::V4(_)) => write!(f, "{addresses}:{port}"),
            (false, Some(port), IpNet::V6(_)) => write!(f, "[{addresses}]:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read_and_written() {
        for (text, addresses, port) in [
            ("192.0.2.7", "192.0.2.7/32", None),
            ("192.0.2.0/24", "192.0.2.0/24", None),
            ("192.0.2.7:443", "192.0.2.7/32", Some(443)),
            ("192.0.2.0/24:443", "192.0.2.0/24", Some(443)),
            ("2001:db8::7", "2001:db8::7/128", None),
            ("2001:db8::/32", "2001:db8::/32", None),
            ("[2001:db8::7]:443", "2001:db8::7/128", Some(443)),
            ("[2001:db8::/32]:443", "2001:db8::/32", Some(443)),
        ] {
            let end: CaptureEnd = text.parse().expect(text);
            assert_eq!((end.addresses.to_string().as_str(), end.port), (addresses, port), "{text}");
            assert_eq!(end.to_string(), text);
        }
        assert_eq!(
            "[2001:db8::7]".parse::<CaptureEnd>().map(|end| end.to_string()),
            Ok("2001:db8::7".to_owned())
        );
    }

    #[test]
    fn what_is_no_end_is_refused() {
        for text in [
            "",
            "shop",
            ":443",
            "192.0.2.7:",
            "192.0.2.7:0",
            "192.0.2.7:65536",
            "192.0.2.0/33",
            "192.0.2.7:443:1",
            "[192.0.2.7]:443",
            "[2001:db8::7",
            "[2001:db8::7]443",
            "2001:db8::7/129",
            "443",
        ] {
            let error = text.parse::<CaptureEnd>().expect_err(text).to_string();
            assert!(error.contains("[2001:db8::/64]:443"), "{error}");
        }
    }
}
