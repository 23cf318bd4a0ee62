//! Ping, over the kernel's ping sockets (icmp(7)): no raw packets, no program needed.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::Read;

use super::namespace::Namespace;

/// Sends one echo request from a namespace and waits for its reply.
///
/// # Errors
/// If there is none in time.
pub fn ping(from: &Namespace, to: IpAddr, patience: Duration) -> Result<()> {
    // Without this, nobody may have such sockets.
    from.set_sysctl("ipv4/ping_group_range", "0 2147483647")?;
    let (domain, protocol, request, reply) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
    };
    let mut socket = from.run(|| Socket::new(domain, Type::DGRAM, Some(protocol)))?;
    socket.set_read_timeout(Some(patience))?;
    // Type, code, checksum and id (both filled in by the kernel), sequence number, data.
    let packet = [request, 0, 0, 0, 0, 0, 0, 1, b'e', b'd', b'g', b'e'];
    socket.send_to(&packet, &SockAddr::from(SocketAddr::new(to, 0)))?;
    let mut answer = [0; 64];
    let length = socket.read(&mut answer).with_context(|| format!("no echo reply from {to}"))?;
    ensure!(length == packet.len() && answer[0] == reply, "not an echo reply: {:?}", &answer[..length]);
    Ok(())
}
