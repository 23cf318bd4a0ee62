//! Clients that connect anew all the time: one request on each connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, timeout};

use super::super::fate::{End, Failure, Fate, Flow};
use super::super::kind::Kind;
use super::http1::Http;
use super::life::{PATIENCE, Phase};

/// Source ports of those whose handshakes the relay gets: below what the kernel chooses from.
pub const ROUGH_PORTS: Range<u16> = 10_000..30_000;

/// Between two connections of one client, whatever became of the one before.
const PAUSE: Duration = Duration::from_millis(200);

/// A client.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// `Kind::Connect` or `Kind::ConnectRough`.
    pub(super) kind: Kind,
    pub(super) vip: SocketAddr,
    /// The source ports that are this client's, for those that choose.
    pub(super) ports: Range<u16>,
}

impl Caller {
    /// Calls until it is to end.
    pub(super) async fn call(self, mut phase: watch::Receiver<Phase>, fates: UnboundedSender<Fate>) {
        let mut turns = tokio::time::interval(PAUSE);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A port of which the other end may still know is not taken again within a run.
        for port in self.ports.clone().cycle() {
            tokio::select! {
                _ = phase.wait_for(|phase| *phase == Phase::Last) => return,
                _ = turns.tick() => {}
            }
            let (caller, fates) = (self.clone(), fates.clone());
            tokio::task::spawn_local(async move {
                // Nobody asks any more once the run has failed.
                let _ = fates.send(caller.once(port).await);
            });
        }
    }

    async fn once(&self, port: u16) -> Fate {
        let start = Instant::now();
        let mut flow = Flow { client: SocketAddr::new(any(self.vip.ip()), port), vip: self.vip };
        let called = timeout(PATIENCE, self.connect(&mut flow)).await;
        let called = called.unwrap_or_else(|_| {
            // Known once the handshake is over.
            let step = if flow.client.ip().is_unspecified() { "no connection" } else { "no answer" };
            Err(Failure::new(End::TimedOut, step))
        });
        let (end, why) = match called {
            Ok(()) => (End::Kept, String::new()),
            Err(failure) => (failure.end, failure.why),
        };
        Fate { kind: self.kind, flow, end, why, at: start.into_std(), stall: start.elapsed() }
    }

    async fn connect(&self, flow: &mut Flow) -> Result<(), Failure> {
        let stream = self.socket(flow.client.port())?.connect(self.vip).await?;
        flow.client = stream.local_addr()?;
        exchange(stream).await
    }

    fn socket(&self, port: u16) -> Result<TcpSocket, Failure> {
        let socket = if self.vip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if self.kind == Kind::ConnectRough {
            socket.bind(SocketAddr::new(any(self.vip.ip()), port))?;
        }
        Ok(socket)
    }
}

/// The other side closes first: here, TIME_WAIT would use up the ports.
async fn exchange(stream: TcpStream) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut http = Http::new(stream);
    http.exchange("Connection: close\r\n").await?;
    match http.silence().await {
        failure if failure.end == End::InOrder => Ok(()),
        failure => Err(failure),
    }
}

fn any(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
