//! Requests that run while something else happens: not one may fail.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use lb_tests::lab::http::Connection;

/// Fewer prove nothing: on a slow machine what happens may be over before them.
const FEW: u32 = 20;

/// A client that asks for one host over and over, on a connection that stays and on new ones by turns.
pub(super) struct Requests {
    stop: Arc<AtomicBool>,
    client: JoinHandle<Result<()>>,
}

impl Requests {
    pub(super) fn start(address: SocketAddr, host: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, host) = (Arc::clone(&stop), host.to_owned());
        Self { stop, client: thread::spawn(move || ask(address, &host, &stopped)) }
    }

    /// All of them were answered with 200.
    pub(super) fn all_answered(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.client.join().map_err(|_| anyhow!("the client panicked"))?
    }
}

fn ask(address: SocketAddr, host: &str, stop: &AtomicBool) -> Result<()> {
    let connect = || anyhow::Ok(Connection::new(TcpStream::connect(address).context("connecting")?));
    let mut kept = connect()?;
    let mut answered = 0;
    while answered < FEW || !stop.load(Ordering::Relaxed) {
        for answer in [kept.fetch(host, "/"), connect()?.fetch(host, "/")] {
            let status = answer.with_context(|| format!("after {answered} answers"))?.status;
            ensure!(status == 200, "status {status} after {answered} answers");
            answered += 1;
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
