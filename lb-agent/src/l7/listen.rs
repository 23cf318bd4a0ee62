//! Listening sockets: one per worker and address, in one SO_REUSEPORT group per address. They are bound first, to see
//! whether they can be had, and listen later: where an agent before this one serves, its very sockets are taken over,
//! with the connections that wait in them and the handshakes under way.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use super::config::{Bind, Config};
use super::keepalive;

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
#[derive(Clone, Debug)]
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

/// The sockets for one address, not listening yet.
#[derive(Debug)]
pub(super) struct Bound {
    /// As `Listening::key`.
    pub(super) key: Option<SocketAddr>,
    /// Where they are bound.
    pub(super) address: SocketAddr,
    /// One per worker.
    sockets: Vec<Socket>,
}

/// Binds a socket per worker for each address that the configuration names.
pub(super) fn bind(config: &Config) -> Result<Vec<Bound>, ListenError> {
    let mut all = Vec::new();
    for (key, address) in wanted(&config.bind) {
        let bound = Bound::new(key, address, config.workers);
        if key.is_none() && is_missing_ipv6(&bound) {
            tracing::warn!("no IPv6 on this node: only IPv4 connections can be served");
            continue;
        }
        all.push(bound?);
    }
    Ok(all)
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

fn is_missing_ipv6(bound: &Result<Bound, ListenError>) -> bool {
    let Err(error) = bound else { return false };
    error.address.is_ipv6() && error.address.port() == 0
}

impl Bound {
    fn new(key: Option<SocketAddr>, wanted: SocketAddr, workers: usize) -> Result<Self, ListenError> {
        let mut bound = Self { key, address: wanted, sockets: Vec::new() };
        for _ in 0..workers {
            let socket = bind_one(bound.address).map_err(|source| ListenError { address: wanted, source })?;
            let address = socket.local_addr().map(|address| address.as_socket());
            bound.address = address.ok().flatten().unwrap_or(wanted);
            bound.sockets.push(socket);
        }
        Ok(bound)
    }

    /// The sockets of each worker for this address: those of the agent before if it had any, else those that were
    /// bound. Each is accepted from by one worker at least, and each worker has one.
    pub(super) fn listen(self, inherited: &[TcpListener]) -> Result<Vec<Vec<Listening>>, ListenError> {
        let address = self.address;
        let workers = self.sockets.len();
        let found = self.take(inherited).map_err(|source| ListenError { address, source })?;
        let mut dealt = vec![Vec::new(); workers];
        for turn in 0..workers.max(found.len()) {
            dealt[turn % workers].push(found[turn % found.len()].clone());
        }
        Ok(dealt)
    }

    fn take(self, inherited: &[TcpListener]) -> io::Result<Vec<Listening>> {
        let mut found = Vec::new();
        for socket in inherited {
            found.extend(self.adopt(socket)?);
        }
        if found.is_empty() {
            for socket in &self.sockets {
                found.push(self.begin(socket)?);
            }
        }
        Ok(found)
    }

    fn begin(&self, socket: &Socket) -> io::Result<Listening> {
        socket.listen(BACKLOG)?;
        self.listening(socket.try_clone()?.into())
    }

    /// The socket, if it is for this address.
    fn adopt(&self, inherited: &TcpListener) -> io::Result<Option<Listening>> {
        let address = inherited.local_addr()?;
        let is_ours = match self.key {
            Some(_) => address == self.address,
            // An agent has one steered group per family, and no other use for loopback but in tests.
            None => address.ip() == self.address.ip(),
        };
        if !is_ours {
            return Ok(None);
        }
        let socket = inherited.try_clone()?;
        self.listening(socket).map(Some)
    }

    fn listening(&self, socket: TcpListener) -> io::Result<Listening> {
        keepalive::watch(&socket)?;
        Ok(Listening { key: self.key, address: socket.local_addr()?, socket: Arc::new(socket) })
    }
}

fn bind_one(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use socket2::SockRef;

    use super::*;

    #[test]
    fn whoever_is_accepted_is_looked_after_also_by_the_next_agent() {
        let bound = || Bound::new(Some(([127, 0, 0, 1], 0).into()), ([127, 0, 0, 1], 0).into(), 1);
        let own = bound().expect("a socket").listen(&[]).expect("it listens");
        let own = &own[0][0];
        let accepted = |socket: &TcpListener| {
            let _client = TcpStream::connect(own.address).expect("connect");
            socket.set_nonblocking(false).expect("a socket");
            socket.accept().expect("a connection").0
        };
        assert!(keepalive::is_watched(&accepted(&own.socket)));
        SockRef::from(&*own.socket).set_keepalive(false).expect("a socket");
        let next = Bound { address: own.address, ..bound().expect("a socket") };
        let next = next.listen(&[own.socket.try_clone().expect("a socket")]).expect("it listens");
        assert!(keepalive::is_watched(&accepted(&next[0][0].socket)));
    }
}
