//! A socket that sends whole IP packets.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::capture::Family;

/// `IPPROTO_RAW`
const RAW: i32 = 255;

/// Sends packets of one family from the namespace in which it was made.
#[derive(Debug)]
pub(crate) struct Sender(Socket);

impl Sender {
    /// In the namespace of the calling thread.
    ///
    /// # Errors
    /// Without the right to it.
    pub(crate) fn new(family: Family) -> io::Result<Self> {
        let (domain, is_v6) = match family {
            Family::V4 => (Domain::IPV4, false),
            Family::V6 => (Domain::IPV6, true),
        };
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(RAW)))?;
        if is_v6 {
            socket.set_header_included_v6(true)?;
        }
        Ok(Self(socket))
    }

    /// Sends a packet to where its header says. What the kernel does not take is lost, as on any wire.
    pub(crate) fn send(&self, packet: &[u8], destination: IpAddr) {
        // Raw sockets of IPv6 take no port.
        let to = SocketAddr::new(destination, 0);
        let _ = self.0.send_to(packet, &SockAddr::from(to));
    }
}
