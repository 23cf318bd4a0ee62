//! edgelb, nginx and HAProxy as HTTP proxies on one core each, by turns, with the same load and backend on another.
//! CPU time per request is what counts: it says how many requests a node can carry, whatever else it does.

mod load;
mod report;
mod subject;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::affinity;
use super::report::Report;
use crate::backend;
use load::Measured;
use subject::Subject;

/// The core of the proxy under test; load and backend run on `LOAD_CORE`.
const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// How to run it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Times that each proxy has its turn.
    pub rounds: usize,
    /// How long a turn is.
    pub turn: Duration,
    /// Connections of the load generator.
    pub connections: usize,
}

/// Runs all subjects by turns and reports medians.
///
/// # Errors
/// If a program is missing, a proxy does not start, or a request fails: a faster failure is no result.
pub fn run(options: &Options) -> Result<Report> {
    affinity::require(2)?;
    // Names the machine before this process is kept on one core.
    let mut report = Report::new("l7");
    affinity::pin(LOAD_CORE)?;
    let backend = backend::start()?;
    let mut subjects = subject::all(backend)?;
    let mut measured: Vec<Vec<Measured>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        for (subject, measured) in subjects.iter_mut().zip(&mut measured) {
            let one = turn(subject, options).with_context(|| format!("round {round}: {}", subject.name))?;
            eprintln!("round {}: {:8} {one}", round + 1, subject.name);
            measured.push(one);
        }
    }
    let names = subjects.iter().map(|subject| subject.name);
    report::add(&mut report, names.zip(measured));
    Ok(report)
}

fn turn(subject: &mut Subject, options: &Options) -> Result<Measured> {
    // Fills pools and caches.
    load::run(subject.address, options.connections, Duration::from_millis(500))?;
    let before = subject.cpu_time()?;
    let load = load::run(subject.address, options.connections, options.turn)?;
    let cpu = subject.cpu_time()? - before;
    ensure!(load.errors == 0, "{} of {} requests failed", load.errors, load.requests);
    Ok(Measured::new(&load, cpu))
}

/// A free port of loopback.
pub(crate) fn free_port() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
