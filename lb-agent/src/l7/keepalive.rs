//! Whether the other end of a connection is still there: who is gone without a word (no power, no network, a NAT that forgot)
//! is noticed by the kernel's probes. Requests have their own limits in time; a tunnel, and a response that goes on for
//! ever, have none.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Nothing has come for so long.
const QUIET: Duration = Duration::from_secs(60);
/// Between two probes then.
const PAUSE: Duration = Duration::from_secs(15);
/// Without an answer, the connection ends.
const PROBES: u32 = 4;

/// Has the kernel look after a connection; set on a listening socket, after all that it accepts.
pub(super) fn watch(socket: &impl AsFd) -> io::Result<()> {
    let probes = TcpKeepalive::new().with_time(QUIET).with_interval(PAUSE).with_retries(PROBES);
    SockRef::from(socket).set_tcp_keepalive(&probes)
}

/// Whether, and how, it does.
#[cfg(test)]
pub(super) fn is_watched(socket: &impl AsFd) -> bool {
    let socket = SockRef::from(socket);
    let told = (socket.tcp_keepalive_time(), socket.tcp_keepalive_interval(), socket.tcp_keepalive_retries());
    socket.keepalive().is_ok_and(|is_on| is_on) && matches!(told, (Ok(QUIET), Ok(PAUSE), Ok(PROBES)))
}
