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
    ping_of(from, to, patience, 4)
}

/// As `ping`, with `len` bytes of data: more than a link takes goes in fragments.
///
/// # Errors
/// As `ping`, and if the request cannot be sent.
pub fn ping_of(from: &Namespace, to: IpAddr, patience: Duration, len: usize) -> Result<()> {
    // Without this, nobody may have such sockets.
    from.set_sysctl("ipv4/ping_group_range", "0 2147483647")?;
    let (domain, protocol, request, reply) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
    };
    let mut socket = from.run(|| Socket::new(domain, Type::DGRAM, Some(protocol)))?;
    socket.set_read_timeout(Some(patience))?;
    // Type, code, checksum and id (both filled in by the kernel), sequence number, data.
    let mut packet = vec![request, 0, 0, 0, 0, 0, 0, 1];
    packet.extend(b"edge".iter().cycle().take(len));
    socket.send_to(&packet, &SockAddr::from(SocketAddr::new(to, 0)))?;
    let mut answer = vec![0; packet.len() + 1];
    let length = socket.read(&mut answer).with_context(|| format!("no echo reply from {to}"))?;
    let is_whole = length == packet.len() && answer[8..length] == packet[8..];
    ensure!(is_whole && answer[0] == reply, "not the echo reply: {:?}", &answer[..length.min(64)]);
    Ok(())
}
