//! Listening sockets: one per worker and address, in one SO_REUSEPORT group per address.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use super::config::{Bind, Config};

/// Connections that wait to be accepted, per socket.
const BACKLOG: i32 = 4096;

/// A socket that could not be opened.
#[derive(Debug, Error)]
#[error("cannot listen on {address}{}", advice(.source))]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// What the system's words do not say.
fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::AddrInUse => ", where another program does: stop that, or choose another port",
        ErrorKind::PermissionDenied => ": ports below 1024 need root, or CAP_NET_BIND_SERVICE",
        ErrorKind::AddrNotAvailable => ", which is no address of this node",
        _ => "",
    }
}

/// A worker's socket for one address.
#[derive(Debug)]
pub(super) struct Listening {
    /// The key of its listener; `None` where each connection's own address is the key.
    pub(super) key: Option<SocketAddr>,
    /// Where it is bound.
    pub(super) address: SocketAddr,
    /// The socket, not blocking.
    pub(super) socket: Arc<TcpListener>,
}

/// A socket to put into the `sk_lookup` program's map.
#[derive(Clone, Debug)]
pub struct SteeredSocket {
    /// Where it is bound; its family is that of the connections it can take.
    pub address: SocketAddr,
    /// The worker that accepts from it.
    pub worker: usize,
    socket: Arc<TcpListener>,
}

impl AsFd for SteeredSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl SteeredSocket {
    pub(super) fn new(worker: usize, listening: &Listening) -> Self {
        Self { address: listening.address, worker, socket: listening.socket.clone() }
    }
}

/// The sockets of each worker.
pub(super) fn open(config: &Config) -> Result<Vec<Vec<Listening>>, ListenError> {
    let mut workers: Vec<Vec<Listening>> = (0..config.workers).map(|_| Vec::new()).collect();
    for (key, address) in wanted(&config.bind) {
        let mut bound = address;
        for worker in &mut workers {
            // What comes in at the node's own addresses never takes the way by another member.
            let listening = listen(key, bound, config.max_segment.filter(|_| key.is_none()));
            if key.is_none() && is_missing_ipv6(&listening) {
                tracing::warn!("no IPv6 on this node: only IPv4 connections can be served");
                break;
            }
            let listening = listening?;
            bound = listening.address;
            worker.push(listening);
        }
    }
    Ok(workers)
}

fn wanted(bind: &Bind) -> Vec<(Option<SocketAddr>, SocketAddr)> {
    // Loopback and a port of the kernel's choice: reachable by steering only, but for processes of this node.
    let steered = || [(None, (Ipv4Addr::LOCALHOST, 0).into()), (None, (Ipv6Addr::LOCALHOST, 0).into())];
    let ordinary = |addresses: &[SocketAddr]| {
        addresses.iter().map(|address| (Some(*address), *address)).collect::<Vec<_>>()
    };
    match bind {
        Bind::Steered => steered().into(),
        Bind::Addresses(addresses) => ordinary(addresses),
        Bind::Both(addresses) => steered().into_iter().chain(ordinary(addresses)).collect(),
    }
}

fn is_missing_ipv6(listening: &Result<Listening, ListenError>) -> bool {
    let Err(error) = listening else { return false };
    error.address.is_ipv6() && error.address.port() == 0
}

fn listen(
    key: Option<SocketAddr>,
    address: SocketAddr,
    max_segment: Option<u32>,
) -> Result<Listening, ListenError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        // Accepted sockets inherit these.
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = max_segment {
            socket.set_tcp_mss(bytes)?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        Ok(Listening { key, address: socket.local_addr()?, socket: Arc::new(socket) })
    };
    open().map_err(|source| ListenError { address, source })
}
