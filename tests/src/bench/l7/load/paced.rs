//! Requests at a fixed rate. What one has to wait for its turn counts: it is timed from when it was due.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use nix::sys::prctl::set_timerslack;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::site::{Listen, Site};
use super::{Exchange, PATIENCE, Paced, Window, exchange, request};
use crate::chaos::client::http1::Http;

type Connection = Http<tokio::net::TcpStream>;

/// Until the window closes. What fails is counted, and the next request has a new connection.
pub(crate) fn run(
    load: Paced,
    listen: Listen,
    site: &Site,
    window: Rc<Window>,
) -> impl Future<Output = Result<()>> + use<> {
    let request = site.targets().next().map(|(host, path)| request(Exchange::Get(128), host, path));
    async move { follow(load, listen, request.context("a site without routes")?, window).await }
}

async fn follow(load: Paced, listen: Listen, request: Bytes, window: Rc<Window>) -> Result<()> {
    let period = Duration::from_secs(1) / load.rate;
    let idle: Rc<RefCell<Vec<Connection>>> = Rc::default();
    for _ in 0..load.connections {
        let connection = connect(listen).await?;
        idle.borrow_mut().push(connection);
    }
    let mut ticks = ticks(period);
    let mut under_way = JoinSet::new();
    while !window.is_closed() {
        let due = ticks.recv().await.context("the clock has stopped")?;
        under_way.spawn_local(ask(idle.clone(), listen, request.clone(), due, window.clone()));
        while under_way.try_join_next().is_some() {}
    }
    drop(under_way.join_all().await);
    Ok(())
}

async fn ask(
    idle: Rc<RefCell<Vec<Connection>>>,
    listen: Listen,
    request: Bytes,
    due: Instant,
    window: Rc<Window>,
) {
    let asked = async {
        let kept = idle.borrow_mut().pop();
        let mut connection = match kept {
            Some(connection) => connection,
            None => connect(listen).await?,
        };
        let closes = exchange(&mut connection, &request).await?;
        window.note(due);
        if !closes {
            idle.borrow_mut().push(connection);
        }
        Ok(())
    };
    let asked = timeout(PATIENCE, asked).await.context("no answer").flatten();
    if let Err(error) = asked {
        window.fail(error);
    }
}

async fn connect(listen: Listen) -> Result<Connection> {
    let stream = tokio::net::TcpStream::connect(listen.http).await?;
    stream.set_nodelay(true)?;
    Ok(Http::new(stream))
}

/// Says when the next request is due, from a thread of its own: the runtime's timers count milliseconds.
fn ticks(period: Duration) -> UnboundedReceiver<Instant> {
    let (sender, ticks) = unbounded_channel();
    std::thread::spawn(move || {
        // Without it the kernel may be late by 50 µs. Late is late, but no error.
        let _ = set_timerslack(1);
        let mut due = Instant::now();
        while sender.send(due).is_ok() {
            due += period;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    });
    ticks
}
