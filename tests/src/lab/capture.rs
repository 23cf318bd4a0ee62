//! Packets as the router sees them, and packets put on the wire as they are: for forgeries.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::namespace::Namespace;

/// `IPPROTO_RAW`: the sender brings the IP header.
const RAW: i32 = 255;

/// Which packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// `ETH_P_IP` or `ETH_P_IPV6`, in network order as packet(7) wants it.
    const fn protocol(self) -> i32 {
        match self {
            Self::V4 => 0x0800_u16.to_be() as i32,
            Self::V6 => 0x86dd_u16.to_be() as i32,
        }
    }
}

/// Listens to all packets of a family that a namespace receives, from its making on.
#[derive(Debug)]
pub struct Capture(Socket);

impl Capture {
    /// IPv4, on all interfaces of a namespace.
    ///
    /// # Errors
    /// Without CAP_NET_RAW.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        Self::of(namespace, Family::V4)
    }

    /// Of the family of `address`, on all interfaces of a namespace.
    ///
    /// # Errors
    /// Without CAP_NET_RAW.
    pub fn like(namespace: &Namespace, address: IpAddr) -> Result<Self> {
        Self::of(namespace, if address.is_ipv4() { Family::V4 } else { Family::V6 })
    }

    pub(crate) fn of(namespace: &Namespace, family: Family) -> Result<Self> {
        let protocol = Protocol::from(family.protocol());
        Ok(Self(namespace.run(|| Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol)))?))
    }

    /// The socket: reads give packets from their IP header on.
    pub(crate) fn socket(&self) -> &Socket {
        &self.0
    }

    /// The next packet, from its IP header on, that `wanted` says yes to.
    ///
    /// # Errors
    /// When the deadline is over.
    pub fn next(&mut self, deadline: Duration, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        let end = Instant::now() + deadline;
        let mut buffer = vec![0; 65_536];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no such packet within {deadline:?}");
            }
            self.0.set_read_timeout(Some(left))?;
            let length = self.0.read(&mut buffer).context("no such packet")?;
            if wanted(&buffer[..length]) {
                return Ok(buffer[..length].to_vec());
            }
        }
    }
}

/// Sends an IP packet from a namespace as it is, whatever source address it names.
///
/// # Errors
/// Without CAP_NET_RAW, or without a route to its destination.
pub fn inject(from: &Namespace, packet: &[u8]) -> Result<()> {
    let (domain, destination) = match packet.first().context("an empty packet")? >> 4 {
        4 => (Domain::IPV4, address::<4>(packet, 16)?.into()),
        _ => (Domain::IPV6, IpAddr::from(address::<16>(packet, 24)?)),
    };
    let socket = from.run(|| Socket::new(domain, Type::RAW, Some(Protocol::from(RAW))))?;
    socket.send_to(packet, &SockAddr::from(SocketAddr::new(destination, 0)))?;
    Ok(())
}

fn address<const N: usize>(packet: &[u8], offset: usize) -> Result<[u8; N]> {
    let bytes = packet.get(offset..offset + N).context("the packet ends in its IP header")?;
    Ok(bytes.try_into()?)
}
