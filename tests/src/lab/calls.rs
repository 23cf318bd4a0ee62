//! Clients that open connections in the background while a test does something else; what they met.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustls::ClientConfig;

use super::http::Connection;
use super::wait::until;
use super::{Namespace, tls};

/// Between two connections of one client: the machine has other things to do, too.
const PAUSE: Duration = Duration::from_millis(5);

/// How long answers may be away until a test gives up.
const SOON: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where; port 443 is asked by TLS.
    pub to: SocketAddr,
    /// The host of requests and of the certificate.
    pub host: String,
    /// How long connecting and answering may take.
    pub patience: Duration,
    /// For TLS.
    pub tls: Arc<ClientConfig>,
}

/// A call that was not answered by 200.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When it began.
    pub began: Instant,
    /// What went wrong, and where.
    pub what: String,
}

/// Clients that call; dropped, they end.
#[derive(Debug)]
pub struct Calls {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failures: Receiver<Failure>,
    clients: Vec<JoinHandle<()>>,
}

impl Calls {
    /// One client for each target, in this namespace: a connection after the other, each for one request.
    #[must_use]
    pub fn start(client: &Namespace, targets: &[Target]) -> Self {
        let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (failed, failures) = channel();
        let clients = targets.iter().map(|target| {
            let (client, target, failed) = (client.clone(), target.clone(), failed.clone());
            let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
            thread::spawn(move || client.run(|| call_on(&target, &over, &answered, &failed)))
        });
        let clients = clients.collect();
        Self { over, answered, failures, clients }
    }

    /// Waits until so many calls more are answered.
    ///
    /// # Errors
    /// If they are not.
    pub fn some_more(&self) -> Result<()> {
        let before = self.answered.load(Ordering::Relaxed);
        until("more answers", SOON, || {
            self.answered.load(Ordering::Relaxed) > before + 10 * self.clients.len()
        })
    }

    /// Ends them: how many were answered, and the failures.
    ///
    /// # Errors
    /// If a client panicked.
    pub fn end(mut self) -> Result<(usize, Vec<Failure>)> {
        self.over.store(true, Ordering::Relaxed);
        for client in std::mem::take(&mut self.clients) {
            client.join().map_err(|_| anyhow!("a client panicked"))?;
        }
        Ok((self.answered.load(Ordering::Relaxed), self.failures.try_iter().collect()))
    }

    /// Ends them: not one may have failed.
    ///
    /// # Errors
    /// Shows the failures.
    pub fn none_failed(self) -> Result<usize> {
        let clients = self.clients.len();
        let (answered, failures) = self.end()?;
        ensure!(
            failures.is_empty(),
            "{} of {} calls failed: {failures:?}",
            failures.len(),
            answered + failures.len()
        );
        ensure!(answered > 10 * clients, "only {answered} calls: that proves nothing");
        Ok(answered)
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn call_on(target: &Target, over: &AtomicBool, answered: &AtomicUsize, failed: &Sender<Failure>) {
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        match target.ask() {
            Ok(_) => _ = answered.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                let what = format!("{} after {:?}: {error:#}", target.to, began.elapsed());
                // Nobody asks any more once the test has failed.
                let _ = failed.send(Failure { began, what });
            }
        }
        thread::sleep(PAUSE);
    }
}

impl Target {
    /// One connection for one request, from where this thread is: the body of the answer, which must be 200.
    ///
    /// # Errors
    /// Says what did not work.
    pub fn ask(&self) -> Result<String> {
        let stream = TcpStream::connect_timeout(&self.to, self.patience).context("connecting")?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_nodelay(true)?;
        if self.to.port() == 443 {
            let stream = tls::handshake_with(&self.tls, &self.host, stream)?;
            self.fetch(Connection::new(stream))
        } else {
            self.fetch(Connection::new(stream))
        }
    }

    fn fetch<S: std::io::Read + std::io::Write>(&self, mut connection: Connection<S>) -> Result<String> {
        // The proxy closes first: at the client, TIME_WAIT would use up the ports.
        let answer = connection.send("GET", &self.host, "/", &[("Connection", "close")])?;
        ensure!(answer.status == 200, "status {}", answer.status);
        connection.await_end()?;
        Ok(String::from_utf8(answer.body)?)
    }
}
