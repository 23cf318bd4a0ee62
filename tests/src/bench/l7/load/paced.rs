//! Requests at a fixed rate. What one has to wait for its turn counts: it is timed from when it was due.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use nix::sys::prctl::set_timerslack;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::site::{Listen, Site};
use super::{PATIENCE, Paced, Window, answer, check, request};
use crate::chaos::client::http1::Http;

type Connection = Http<tokio::net::TcpStream>;

/// Until the window closes. What fails is counted, and the next request has a new connection.
pub(crate) fn run(
    load: Paced,
    listen: Listen,
    site: &Site,
    window: Rc<Window>,
) -> impl Future<Output = Result<()>> + use<> {
    let request = site.targets().next().map(|(host, path)| request(load.exchange, host, path));
    async move { follow(load, listen, request.context("a site without routes")?, window).await }
}

async fn follow(load: Paced, listen: Listen, request: Bytes, window: Rc<Window>) -> Result<()> {
    let period = Duration::from_secs(1) / load.rate;
    let pool = Rc::new(Pool { listen, most: load.most, open: Cell::new(0), idle: RefCell::default() });
    for _ in 0..load.connections {
        let connection = pool.connect().await?;
        pool.idle.borrow_mut().push(connection);
    }
    let mut ticks = ticks(period);
    let mut under_way = JoinSet::new();
    while !window.is_closed() {
        let due = ticks.recv().await.context("the clock has stopped")?;
        if pool.has_room() {
            under_way.spawn_local(ask(pool.clone(), request.clone(), due, window.clone()));
        }
        while under_way.try_join_next().is_some() {}
    }
    drop(under_way.join_all().await);
    Ok(())
}

async fn ask(pool: Rc<Pool>, request: Bytes, due: Instant, window: Rc<Window>) {
    let asked = timeout(PATIENCE, pool.ask(&request, due, &window)).await.context("no answer").flatten();
    if let Err(error) = asked
        && pool.most.is_none()
    {
        window.fail(error);
    }
}

/// The connections.
struct Pool {
    listen: Listen,
    most: Option<usize>,
    open: Cell<usize>,
    idle: RefCell<Vec<Connection>>,
}

impl Pool {
    /// Whether a request finds a connection.
    fn has_room(&self) -> bool {
        !self.idle.borrow().is_empty() || self.most.is_none_or(|most| self.open.get() < most)
    }

    async fn ask(&self, request: &[u8], due: Instant, window: &Window) -> Result<()> {
        let kept = self.idle.borrow_mut().pop();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let head = answer(&mut connection, request).await;
        match &head {
            Ok(head) if !head.closes => self.idle.borrow_mut().push(connection),
            _ => self.open.set(self.open.get() - 1),
        }
        check(head?.status, 200)?;
        window.note(due);
        Ok(())
    }

    async fn connect(&self) -> Result<Connection> {
        self.open.set(self.open.get() + 1);
        let connected = tokio::net::TcpStream::connect(self.listen.http).await;
        let stream = connected.inspect_err(|_| self.open.set(self.open.get() - 1))?;
        stream.set_nodelay(true)?;
        Ok(Http::new(stream))
    }
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
