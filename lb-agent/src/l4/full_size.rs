//! Packets of full size on the ways to members. What a router further on cannot pass on shows by its ICMP error, and the
//! kernel keeps that as the way's MTU: of packets that XDP sends, which have no socket, it would keep nothing.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use lb_common::probe::{Kind, LEN, Message, Probe, Said};
use lb_common::row::MemberId;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use rustix::io::Errno;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::debug;

use super::reach::Ways;
use super::wanted::Local;
use crate::model::Member;

/// How often one is sent to each member.
const EVERY: Duration = Duration::from_secs(1);

/// Errors that are kept unread, in bytes: what they say is the kernel's to remember.
const KEPT_ERRORS: usize = 4 << 10;

const UDP: usize = 8;

/// What is sent, and from where.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Packets {
    from: Option<IpAddr>,
    /// Where to, and the datagram: a probe with padding, which its receiver's packet path takes and its agent does not read.
    all: Vec<(SocketAddr, Vec<u8>)>,
    /// Whether a way is known to take less than the interface: then another error tells nothing new at once.
    is_less_known: bool,
}

impl Packets {
    /// Those to all members that can be reached from this one.
    pub(crate) fn new<'a>(
        members: impl Iterator<Item = &'a Member> + Clone,
        ways: &Ways,
        local: &Local,
    ) -> Self {
        let Some(this) = members.clone().find(|member| member.name == local.node) else {
            return Self::default();
        };
        let packet = |member: &Member| {
            let room = usize::from(*ways.link_mtu.get(&member.address)?);
            let payload = room.checked_sub(ip_header(member.address) + UDP)?;
            let mut datagram = message(this.id, member.id, local).to_vec();
            datagram.resize(payload.max(LEN), 0);
            Some((SocketAddr::new(member.address, local.port), datagram))
        };
        let is_less = |(peer, &mtu): (&IpAddr, &u16)| ways.reach.get(peer).is_some_and(|way| way.mtu < mtu);
        let is_less_known = ways.link_mtu.iter().any(is_less);
        let others = members.filter(|member| member.id != this.id);
        Self { from: Some(this.address), all: others.filter_map(packet).collect(), is_less_known }
    }
}

fn ip_header(address: IpAddr) -> usize {
    if address.is_ipv4() { 20 } else { 40 }
}

fn message(from: MemberId, to: MemberId, local: &Local) -> [u8; LEN] {
    let (kind, cluster, said) = (Kind::Ask, local.cluster, Said::default());
    let probe = Probe { kind, from, to, cluster, sequence: 0, said, is_down: false };
    Message::new(&probe, &local.keys.in_force).bytes()
}

/// Sends them, again and again, until nobody has any more. `smaller` is told when a way is found to take less than it did.
pub(crate) async fn follow(mut packets: watch::Receiver<Packets>, smaller: Arc<Notify>) {
    let mut socket: Option<(IpAddr, UdpSocket)> = None;
    loop {
        let now = packets.borrow_and_update().clone();
        if now.from != socket.as_ref().map(|(address, _)| *address) {
            socket = now.from.and_then(|address| Some((address, bind(address)?)));
        }
        if let Some((_, socket)) = &socket {
            let found = now.all.iter().filter(|packet| is_told(socket, packet)).count();
            if found > 0 && !now.is_less_known {
                smaller.notify_one();
            }
        }
        tokio::select! {
            changed = packets.changed() => if changed.is_err() { return },
            () = sleep(EVERY) => {}
        }
    }
}

/// Sends one. Whether the socket tells of a packet that was too big for its way: the kernel knows more then.
fn is_told(socket: &UdpSocket, (to, datagram): &(SocketAddr, Vec<u8>)) -> bool {
    let is_too_big = |error: &io::Error| error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error());
    // An error that the socket has kept is told in place of sending.
    let first = socket.send_to(datagram, to).err();
    let second = first.as_ref().and_then(|_| socket.send_to(datagram, to).err());
    first.iter().chain(&second).any(is_too_big)
}

fn bind(address: IpAddr) -> Option<UdpSocket> {
    let bound = (|| -> io::Result<Socket> {
        let socket =
            Socket::new(Domain::for_address(SocketAddr::new(address, 0)), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(KEPT_ERRORS)?;
        // Not to be cut, and of full size whatever is known of the way: what is known would be forgotten else.
        match address {
            IpAddr::V4(_) => {
                set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
                setsockopt(&socket, Ipv4RecvErr, &true)?;
            }
            IpAddr::V6(_) => {
                set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?;
                setsockopt(&socket, Ipv6RecvErr, &true)?;
            }
        }
        socket.bind(&SocketAddr::new(address, 0).into())?;
        Ok(socket)
    })();
    match bound {
        Ok(socket) => Some(socket.into()),
        Err(error) => {
            debug!(%address, %error, "no packets of full size: only what routes say of their MTU is known");
            None
        }
    }
}
