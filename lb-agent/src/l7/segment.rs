//! How long the segments may be that clients send to VIPs: their packets go from member to member encapsulated, and an
//! IPv6 packet of 1280 bytes cannot be said to be too big. Only sockets that connections are steered to are concerned.

use std::sync::{Mutex, PoisonError};

use socket2::SockRef;
use tracing::{info, warn};

use super::listen::Listening;

/// IP and TCP headers without options: what a segment's size does not count.
const HEADERS_V4: u16 = 20 + 20;
const HEADERS_V6: u16 = 40 + 20;

/// No less is asked for: all hosts take it (RFC 9293, 3.7.1), and a way that takes less is no way for packets of clients.
const LEAST: u16 = 536;

/// RFC 8200: IPv6 hosts may send this much whatever they are told.
const LEAST_MTU_V6: u16 = 1280;

/// What listening sockets ask for.
#[derive(Debug)]
pub(super) struct Segments {
    /// Bytes of the longest packet; `None` for as much as the kernel says.
    inner_mtu: Mutex<Option<u16>>,
}

impl Segments {
    pub(super) const fn new(inner_mtu: Option<u16>) -> Self {
        Self { inner_mtu: Mutex::new(inner_mtu) }
    }

    /// Has these sockets ask for it from their start on. What those of an agent before ask for stays if it is less: it
    /// knew the ways.
    pub(super) fn begin<'a>(&self, sockets: impl Iterator<Item = &'a Listening> + Clone) {
        let mut now = self.inner_mtu.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(inner_mtu) = *now else { return };
        let least = sockets.clone().filter_map(asked).fold(inner_mtu, u16::min);
        *now = Some(least);
        ask(sockets, least);
    }

    /// Has them ask for segments that make packets of so many bytes; for longer ones than before if they `may_rise`.
    /// Connections that there are keep theirs. The sockets are other agents' of this node, too, which may have had them ask for
    /// something else meanwhile: they are told each time.
    pub(super) fn limit<'a>(
        &self,
        sockets: impl Iterator<Item = &'a Listening>,
        inner_mtu: u16,
        may_rise: bool,
    ) {
        let mut now = self.inner_mtu.lock().unwrap_or_else(PoisonError::into_inner);
        let is_longer = now.is_some_and(|now| inner_mtu > now);
        if is_longer && !may_rise {
            return;
        }
        let is_news = now.replace(inner_mtu) != Some(inner_mtu);
        ask(sockets, inner_mtu);
        if is_news {
            tell(inner_mtu);
        }
    }
}

fn tell(inner_mtu: u16) {
    let words = format_args!("clients' packets of {inner_mtu} bytes fit between members");
    let (v4, v6) = (segment(inner_mtu, false), segment(inner_mtu, true));
    if inner_mtu < LEAST_MTU_V6 {
        warn!(v4, v6, "{words}, which is less than IPv6 promises: shorter segments are asked for");
    } else {
        info!(v4, v6, "{words}: segments are asked for that do");
    }
}

fn ask<'a>(sockets: impl Iterator<Item = &'a Listening>, inner_mtu: u16) {
    for listening in sockets {
        let bytes = segment(inner_mtu, listening.address.is_ipv6());
        if let Err(error) = SockRef::from(&*listening.socket).set_tcp_mss(bytes.into()) {
            let address = listening.address;
            warn!(%address, %error, "the kernel takes no size of segments: long packets may be lost between members");
        }
    }
}

/// What a socket asks for already. Older kernels say the least for all that listen.
fn asked(listening: &Listening) -> Option<u16> {
    let bytes = SockRef::from(&*listening.socket).tcp_mss().ok()?;
    let bytes = u16::try_from(bytes).ok().filter(|&bytes| bytes > LEAST)?;
    bytes.checked_add(headers(listening.address.is_ipv6()))
}

fn segment(inner_mtu: u16, is_v6: bool) -> u16 {
    inner_mtu.saturating_sub(headers(is_v6)).max(LEAST)
}

const fn headers(is_v6: bool) -> u16 {
    if is_v6 { HEADERS_V6 } else { HEADERS_V4 }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
    use std::sync::Arc;

    use super::*;

    /// One of each family.
    fn sockets() -> Vec<Listening> {
        let listening = |address: SocketAddr| {
            let socket = TcpListener::bind(address).expect("a socket");
            let address = socket.local_addr().expect("its address");
            Listening { key: None, address, socket: Arc::new(socket) }
        };
        vec![listening((Ipv4Addr::LOCALHOST, 0).into()), listening((Ipv6Addr::LOCALHOST, 0).into())]
    }

    #[track_caller]
    fn check(sockets: &[Listening], expected: [u32; 2]) {
        let found = sockets.iter().map(|socket| SockRef::from(&*socket.socket).tcp_mss().expect("a size"));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn sockets_ask_for_what_fits_in_their_family() {
        let (sockets, segments) = (sockets(), Segments::new(Some(1432)));
        segments.begin(sockets.iter());
        check(&sockets, [1392, 1372]);
        for (inner_mtu, may_rise, expected) in [
            (1252, false, [1212, 1192]),
            (1452, false, [1212, 1192]),
            (1452, true, [1412, 1392]),
            (1252, true, [1212, 1192]),
            (590, false, [550, 536]),
            (0, false, [536, 536]),
        ] {
            segments.limit(sockets.iter(), inner_mtu, may_rise);
            check(&sockets, expected);
        }
    }

    #[test]
    fn who_takes_over_asks_for_no_more_than_the_agent_before() {
        let sockets = sockets();
        Segments::new(Some(1252)).begin(sockets.iter());
        let next = Segments::new(Some(1432));
        next.begin(sockets.iter());
        check(&sockets, [1212, 1192]);
        next.limit(sockets.iter(), 1432, false);
        check(&sockets, [1212, 1192]);
        next.limit(sockets.iter(), 1432, true);
        check(&sockets, [1392, 1372]);
    }

    #[test]
    fn what_another_agent_of_the_node_asked_for_does_not_stay() {
        let sockets = sockets();
        let (first, next) = (Segments::new(Some(1252)), Segments::new(Some(1252)));
        first.begin(sockets.iter());
        next.begin(sockets.iter());
        next.limit(sockets.iter(), 1452, true);
        // It has gone, and the first one takes back.
        first.limit(sockets.iter(), 1252, false);
        check(&sockets, [1212, 1192]);
    }

    #[test]
    fn a_proxy_without_members_leaves_it_to_the_kernel() {
        let sockets = sockets();
        let before: Vec<_> =
            sockets.iter().map(|socket| SockRef::from(&*socket.socket).tcp_mss().ok()).collect();
        Segments::new(None).begin(sockets.iter());
        let after: Vec<_> =
            sockets.iter().map(|socket| SockRef::from(&*socket.socket).tcp_mss().ok()).collect();
        assert_eq!(before, after);
    }
}
