//! Accepting clients' connections, and what is done where the system has none to give.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::connection;
use super::listen::Listening;
use super::news::{News, SELDOM};
use super::phase::Phase;
use super::shortage::Shortage;
use super::worker::Worker;

/// Until it is tried again: the connection still waits, so that the socket would say at once that there is one.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a connection that waits could not be accepted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AcceptFailure {
    /// The process has as many descriptors as it may (`RLIMIT_NOFILE`).
    ProcessDescriptors,
    /// The system has as many open files as it may (`fs.file-max`).
    SystemDescriptors,
    /// The kernel has no memory for its socket.
    Memory,
    /// Whatever else; of the connection itself, mostly (accept(2), "Error handling").
    Other,
}

impl AcceptFailure {
    /// All of them; the position is the metric's index.
    pub const ALL: [Self; 4] = [Self::ProcessDescriptors, Self::SystemDescriptors, Self::Memory, Self::Other];

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.shortage().map_or("other", Shortage::label)
    }

    const fn shortage(self) -> Option<Shortage> {
        match self {
            Self::ProcessDescriptors => Some(Shortage::ProcessDescriptors),
            Self::SystemDescriptors => Some(Shortage::SystemDescriptors),
            Self::Memory => Some(Shortage::Memory),
            Self::Other => None,
        }
    }

    fn of(error: &io::Error) -> Self {
        let shortage = Shortage::of(error);
        Self::ALL.into_iter().find(|why| why.shortage() == shortage).unwrap_or(Self::Other)
    }
}

/// Accepts connections until the worker is told to stop, and then those that wait already: their clients take them
/// for open.
pub(super) async fn accept(worker: Rc<Worker>, listening: Listening, mut phase: watch::Receiver<Phase>) {
    let Listening { key, address, socket } = listening;
    let listener = match socket.try_clone().and_then(TcpListener::from_std) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, %address, "no connections are accepted"),
    };
    let serve = |(stream, peer): (TcpStream, SocketAddr)| {
        // A connection that is gone already has no address any more.
        let Some(key) = key.or_else(|| stream.local_addr().ok()) else { return };
        let client = Some(peer.ip()).filter(|peer| !worker.config.trust.is_in_front(*peer));
        match worker.admission.admit(client) {
            Ok(guest) => {
                // The runtime wants tasks at addresses of 128 bytes, which is slow to allocate where they are large.
                drop(spawn_local(Box::pin(connection::serve(worker.clone(), guest, stream, peer, key))));
            }
            Err(limit) => worker.refusals.count(peer.ip(), limit.into()),
        }
    };
    let news = News::every(SELDOM);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| phase.is_stopping()) => break,
        };
        match accepted {
            Ok(accepted) => serve(accepted),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                worker.metrics.accept_failed(AcceptFailure::of(&error));
                if let Some(untold) = news.at(Instant::now()) {
                    tracing::warn!(%error, %address, untold, "connections wait: accepting them fails, and is tried again all the time");
                }
                sleep(PAUSE).await;
            }
        }
    }
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, peer)) = listener.accept() {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            serve((stream, peer));
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn what_is_short_has_its_name() {
        for (errno, label) in [
            (Errno::EMFILE, "process_descriptors"),
            (Errno::ENFILE, "system_descriptors"),
            (Errno::ENOBUFS, "memory"),
            (Errno::ENOMEM, "memory"),
            (Errno::EHOSTUNREACH, "other"),
        ] {
            assert_eq!(AcceptFailure::of(&errno.into()).label(), label, "{errno}");
        }
    }
}
