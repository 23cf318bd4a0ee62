//! Clients that call in the background while a test does something else; what they met.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustls::ClientConfig;

use super::http::{Answer, Connection};
use super::wait::until;
use super::{Namespace, tls};

/// Between two connections of one client: the machine has other things to do, too.
const PAUSE: Duration = Duration::from_millis(5);

/// Between two requests of one connection: there are many, and each is to be in time for what breaks it for a moment.
const KEPT: Duration = Duration::from_millis(100);

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
    /// Whether it is asked by one connection for many requests, not by one for each.
    pub is_kept: bool,
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
    /// One client for each target, in this namespace: a connection after the other, each for one request, or one for all.
    #[must_use]
    pub fn start(client: &Namespace, targets: &[Target]) -> Self {
        let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (failed, failures) = channel();
        let caller = Caller { over: Arc::clone(&over), answered: Arc::clone(&answered), failed };
        let clients = targets.iter().map(|target| {
            let (client, target, caller) = (client.clone(), target.clone(), caller.clone());
            thread::spawn(move || client.run(|| caller.calls(&target)))
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

/// One of them.
#[derive(Clone)]
struct Caller {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failed: Sender<Failure>,
}

impl Caller {
    fn calls(&self, target: &Target) {
        while !self.is_over() {
            let began = Instant::now();
            let called = if target.is_kept { self.goes_on_calling(target) } else { self.calls_once(target) };
            if let Err(error) = called {
                let what = format!("{} after {:?}: {error:#}", target.to, began.elapsed());
                // Nobody asks any more once the test has failed.
                let _ = self.failed.send(Failure { began, what });
            }
            thread::sleep(PAUSE);
        }
    }

    fn calls_once(&self, target: &Target) -> Result<()> {
        target.ask()?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// By one connection until the end.
    fn goes_on_calling(&self, target: &Target) -> Result<()> {
        let mut connection = target.connect()?;
        while !self.is_over() {
            ensure_answered(&connection.fetch(&target.host, "/")?)?;
            self.answered.fetch_add(1, Ordering::Relaxed);
            thread::sleep(KEPT);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

fn ensure_answered(answer: &Answer) -> Result<()> {
    ensure!(answer.status == 200, "status {}", answer.status);
    Ok(())
}

/// With TLS or without.
trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

impl Target {
    /// Asked by one connection for many requests.
    #[must_use]
    pub fn kept(self) -> Self {
        Self { is_kept: true, ..self }
    }

    /// One connection for one request, from where this thread is: the body of the answer, which must be 200.
    ///
    /// # Errors
    /// Says what did not work.
    pub fn ask(&self) -> Result<String> {
        let mut connection = self.connect()?;
        // The proxy closes first: at the client, TIME_WAIT would use up the ports.
        let answer = connection.send("GET", &self.host, "/", &[("Connection", "close")])?;
        ensure_answered(&answer)?;
        connection.await_end()?;
        Ok(String::from_utf8(answer.body)?)
    }

    fn connect(&self) -> Result<Connection<Box<dyn Stream>>> {
        let stream = TcpStream::connect_timeout(&self.to, self.patience).context("connecting")?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match self.to.port() {
            443 => Box::new(tls::handshake_with(&self.tls, &self.host, stream)?),
            _ => Box::new(stream),
        };
        Ok(Connection::new(stream))
    }
}
