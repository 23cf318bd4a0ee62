//! Requests that run while something else happens: each on a connection that stays, its failures counted.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::lab::http::Connection;

/// Between two requests: a load, not a flood.
const PAUSE: Duration = Duration::from_millis(2);

/// A client that asks for one host over and over.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    client: JoinHandle<(u64, u64)>,
}

impl Load {
    pub(super) fn start(address: SocketAddr, host: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let client = thread::spawn(move || ask(address, &host, &stopped));
        Self { stop, client }
    }

    /// How many requests were answered, and how many failed.
    pub(super) fn stop(self) -> Result<(u64, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        self.client.join().map_err(|_| anyhow!("the load's client panicked"))
    }
}

fn ask(address: SocketAddr, host: &str, stop: &AtomicBool) -> (u64, u64) {
    let (mut answered, mut failed) = (0, 0);
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        match fetch(&mut connection, address, host) {
            Ok(()) => answered += 1,
            Err(_) => {
                failed += 1;
                connection = None;
            }
        }
        thread::sleep(PAUSE);
    }
    (answered, failed)
}

fn fetch(connection: &mut Option<Connection<TcpStream>>, address: SocketAddr, host: &str) -> Result<()> {
    if connection.is_none() {
        *connection = Some(Connection::new(TcpStream::connect(address)?));
    }
    let answer = connection.as_mut().context("it was made")?.fetch(host, "/")?;
    anyhow::ensure!(answer.status == 200, "{}", answer.status);
    Ok(())
}
