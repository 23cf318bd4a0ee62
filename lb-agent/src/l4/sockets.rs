//! The TCP sockets of this network namespace, by the kernel's socket diagnostics (sock_diag(7), `linux/inet_diag.h`).

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use rtnetlink::sys::protocols::NETLINK_SOCK_DIAG;
use rtnetlink::sys::{Socket, SocketAddr as NetlinkAddr};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
/// `inet_diag_req_v2`
const REQUEST: usize = HEADER + 56;
/// `inet_diag_msg`
const MESSAGE: usize = 72;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;

/// Half open (`net/tcp_states.h`): a client that has not acknowledged our SYN, perhaps one that does not exist.
const SYN_RECV: u8 = 3;
const NEW_SYN_RECV: u8 = 12;

/// Bits by state: ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING, and those that are half open.
const OF_CONNECTIONS: u32 =
    1 << 1 | 1 << SYN_RECV | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11 | 1 << NEW_SYN_RECV;

/// The same, of connections that have something to lose: ESTABLISHED, FIN_WAIT1, CLOSE_WAIT, LAST_ACK, CLOSING. A client
/// that is in FIN_WAIT2 with us has acknowledged all, and one whose handshake is not over has sent nothing.
const UNFINISHED: u32 = 1 << 1 | 1 << 4 | 1 << 8 | 1 << 9 | 1 << 11;

/// A connection: established, half closed, or half open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Connection {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Whether its client has still to answer our SYN.
    pub(crate) is_half_open: bool,
    /// The kernel's number of the socket, never used again.
    pub(crate) cookie: u64,
}

/// All connections of both families. Takes milliseconds for thousands: not on a thread that others wait for.
pub(crate) fn connections() -> io::Result<Vec<Connection>> {
    in_states(OF_CONNECTIONS)
}

/// How many connections of these VIPs would lose something if this node were switched off now: also those that their
/// program has closed, or another one has. As long as `connections` takes.
///
/// # Errors
/// If the kernel does not tell.
pub fn unfinished(vips: &BTreeSet<IpAddr>) -> io::Result<u64> {
    let found = in_states(UNFINISHED)?;
    Ok(found.iter().filter(|connection| vips.contains(&connection.local.ip())).count() as u64)
}

fn in_states(states: u32) -> io::Result<Vec<Connection>> {
    let mut found = of_family(AF_INET, states)?;
    found.extend(of_family(AF_INET6, states)?);
    Ok(found)
}

fn of_family(family: u8, states: u32) -> io::Result<Vec<Connection>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    socket.send(&request(family, states), 0)?;
    let mut found = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        if take(&datagram, &mut found)? {
            return Ok(found);
        }
    }
}

fn request(family: u8, states: u32) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    request[0..4].copy_from_slice(&(REQUEST as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    request[HEADER] = family;
    request[HEADER + 1] = IPPROTO_TCP;
    request[HEADER + 4..HEADER + 8].copy_from_slice(&states.to_ne_bytes());
    request
}

/// Reads the messages of a datagram. Whether the last one was among them.
fn take(mut datagram: &[u8], found: &mut Vec<Connection>) -> io::Result<bool> {
    while datagram.len() >= HEADER {
        let length = word(datagram, 0) as usize;
        if length < HEADER || length > datagram.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let body = &datagram[HEADER..length];
        match u16::from_ne_bytes([datagram[4], datagram[5]]) {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR if body.len() >= 4 => {
                return Err(io::Error::from_raw_os_error((word(body, 0) as i32).wrapping_neg()));
            }
            SOCK_DIAG_BY_FAMILY if body.len() >= MESSAGE => found.extend(connection(body)),
            _ => {}
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// Family and state, then `inet_diag_sockid`: ports, addresses, interface, cookie.
fn connection(body: &[u8]) -> Option<Connection> {
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    Some(Connection {
        local: SocketAddr::new(address(body[0], &body[8..24])?, port(4)),
        remote: SocketAddr::new(address(body[0], &body[24..40])?, port(6)),
        is_half_open: [SYN_RECV, NEW_SYN_RECV].contains(&body[1]),
        cookie: u64::from(word(body, 44)) | u64::from(word(body, 48)) << 32,
    })
}

fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    match family {
        AF_INET => Some(IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]])),
        AF_INET6 => Some(IpAddr::from(bytes).to_canonical()),
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Both ends of a connection over loopback are found, by their addresses, while it lives.
    #[track_caller]
    fn check(listen: &str) {
        let listener = TcpListener::bind(listen).expect("a listener on loopback");
        let at = listener.local_addr().expect("it has an address");
        let client = TcpStream::connect(at).expect("it listens");
        let (server, from) = listener.accept().expect("one is there");
        let of = |local, remote| {
            let all = connections().expect("the kernel answers");
            let mut found = all.into_iter().filter(|found| (found.local, found.remote) == (local, remote));
            (found.next(), found.next())
        };
        let (Some(one), None) = of(at, from) else { panic!("one server socket") };
        let (Some(other), None) = of(from, at) else { panic!("one client socket") };
        assert_ne!(one.cookie, other.cookie);
        assert_eq!(of(at, from).0, Some(one), "the cookie stays");
        client.shutdown(Shutdown::Write).expect("it is open");
        (&server).read_to_end(&mut Vec::new()).expect("the end is seen");
        assert_eq!(of(at, from).0, Some(one), "half closed");
        drop(server);
        assert_eq!(of(at, from).0, None, "closed");
    }

    #[test]
    fn connections_are_found_as_long_as_they_live() {
        check("127.0.0.7:0");
        check("[::1]:0");
    }

    #[test]
    fn what_a_client_has_not_got_yet_is_unfinished() {
        let listener = TcpListener::bind("127.0.0.11:0").expect("a listener on loopback");
        let at = listener.local_addr().expect("it has an address");
        let left = || unfinished(&BTreeSet::from([at.ip()])).expect("the kernel answers");
        assert_eq!(left(), 0);
        let mut client = TcpStream::connect(at).expect("it listens");
        let (mut server, _) = listener.accept().expect("one is there");
        assert_eq!(left(), 1);
        server.set_nonblocking(true).expect("a socket");
        while server.write(&[0; 65_536]).is_ok() {}
        drop(server);
        assert_eq!(left(), 1, "closed, with bytes to send");
        client.read_to_end(&mut Vec::new()).expect("all of it");
        // The client's last acknowledgement may be a delayed one.
        let start = Instant::now();
        while left() > 0 {
            assert!(start.elapsed() < PATIENCE, "it has got everything");
        }
    }

    #[test]
    fn listeners_are_no_connections() {
        let listener = TcpListener::bind("127.0.0.9:0").expect("a listener on loopback");
        let at = listener.local_addr().expect("it has an address");
        let locals: BTreeSet<_> =
            connections().expect("the kernel answers").iter().map(|found| found.local).collect();
        assert!(!locals.contains(&at));
    }

    #[test]
    fn half_a_message_is_an_error() {
        let mut datagram = request(AF_INET, OF_CONNECTIONS).to_vec();
        datagram.truncate(REQUEST - 1);
        assert!(take(&datagram, &mut Vec::new()).is_err());
        let mut refusal = [0; HEADER + 4];
        refusal[0] = refusal.len() as u8;
        refusal[4] = NLMSG_ERROR as u8;
        refusal[HEADER..].copy_from_slice(&(-13_i32).to_ne_bytes());
        let error = take(&refusal, &mut Vec::new()).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
