//! The load: clients on a core of their own, each with its next request as soon as the last one is answered, or at a
//! fixed rate.

mod http1;
mod http2;
mod open;
mod paced;
mod websocket;
mod window;

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use super::site::{Listen, Site};

pub(super) use self::http1::{answers, exchange, request};
pub(super) use self::open::{Opener, Opens};
pub(super) use self::paced::run as paced;
pub(super) use self::window::{Measured, Window};

/// Before a turn counts: connections open, pools and caches fill.
const WARM_UP: Duration = Duration::from_millis(500);

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the clients do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    Http1(Http1),
    Http2(Http2),
    WebSocket { connections: usize },
    Paced(Paced),
}

/// HTTP/1.1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Http1 {
    /// Connections at one time.
    pub(super) connections: usize,
    pub(super) opens: Opens,
    pub(super) exchange: Exchange,
}

/// A request and its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Exchange {
    /// So many bytes come.
    Get(usize),
    /// So many bytes go.
    Post(usize),
    /// 128 bytes come, and the connection ends.
    Last,
}

/// HTTP/2 over TLS.
#[derive(Clone, Copy, Debug)]
pub(super) struct Http2 {
    pub(super) connections: usize,
    /// Requests at one time on each.
    pub(super) streams: usize,
    pub(super) grpc: bool,
}

/// HTTP/1.1 at a fixed rate, whatever the answers take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paced {
    /// Connections that are kept.
    pub(super) connections: usize,
    /// Requests a second.
    pub(super) rate: u32,
}

/// Clients at work.
pub(super) type Clients = JoinSet<Result<()>>;

/// The runtime of all clients.
pub(super) fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// One turn of what listens there and has used so much CPU time.
pub(super) fn turn(
    load: Load,
    listen: Listen,
    site: &Site,
    lasts: Duration,
    cpu_time: impl Fn() -> Result<Duration>,
) -> Result<Measured> {
    LocalSet::new().block_on(&runtime()?, async {
        let window = Rc::new(Window::default());
        let mut clients = start(load, listen, site, &window)?;
        go_on(&mut clients, WARM_UP).await?;
        let (used, began) = (cpu_time()?, Instant::now());
        window.open();
        go_on(&mut clients, lasts).await?;
        window.close();
        let (used, lasted) = (cpu_time()?.saturating_sub(used), began.elapsed());
        finish(&mut clients).await?;
        window.failure()?;
        window.measured(used, lasted)
    })
}

fn start(load: Load, listen: Listen, site: &Site, window: &Rc<Window>) -> Result<Clients> {
    let mut clients = Clients::new();
    match load {
        Load::Http1(load) => http1::start(load, listen, site, window, &mut clients)?,
        Load::Http2(load) => http2::start(load, listen, site, window, &mut clients)?,
        Load::WebSocket { connections } => websocket::start(connections, listen, site, window, &mut clients)?,
        Load::Paced(load) => drop(clients.spawn_local(paced(load, listen, site, window.clone()))),
    }
    Ok(clients)
}

/// Lets them work for some time; the first failure ends it.
pub(super) async fn go_on(clients: &mut Clients, time: Duration) -> Result<()> {
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(()),
        ended = clients.join_next() => match ended {
            Some(ended) => ended?.and_then(|()| Err(anyhow!("a client ended early"))),
            None => Err(anyhow!("there are no clients")),
        },
    }
}

/// Waits for what is under way when the window is closed.
pub(super) async fn finish(clients: &mut Clients) -> Result<()> {
    let all = async {
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        Ok(())
    };
    timeout(PATIENCE, all).await.context("answers are missing")?
}

/// A status that is no success.
fn check(status: u16, expected: u16) -> Result<()> {
    ensure!(status == expected, "the answer was {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::descriptors::Descriptors;
    use super::super::site::PLAIN;
    use super::*;

    /// The clients and the backend understand each other, so that what fails in a bench is the peer between them.
    #[test]
    fn clients_are_answered_by_the_backend() {
        let site = Site::new(PLAIN, Descriptors(16_384)).expect("a site");
        let listen = Listen { http: site.backend, https: site.backend };
        let http1 = |exchange| Load::Http1(Http1 { connections: 2, opens: Opens::Clear, exchange });
        for load in [
            http1(Exchange::Get(128)),
            http1(Exchange::Get(65_536)),
            http1(Exchange::Post(65_536)),
            Load::WebSocket { connections: 2 },
            Load::Paced(Paced { connections: 2, rate: 200 }),
        ] {
            let measured = turn(load, listen, &site, Duration::from_millis(200), || Ok(Duration::ZERO));
            let rate = measured.unwrap_or_else(|error| panic!("{load:?}: {error:#}")).rate;
            assert!(rate > 1.0, "{load:?}: {rate}");
        }
    }
}
