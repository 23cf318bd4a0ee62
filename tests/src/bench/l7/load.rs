//! The load: wrk, and what it measured.

use std::fmt;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::subject::HOST;

const REPORT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/l7/report.lua");

/// One run of wrk.
pub(super) struct Load {
    pub(super) requests: u64,
    pub(super) errors: u64,
    p50: Duration,
    p99: Duration,
    lasted: Duration,
}

/// One turn of a subject.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// CPU time of the proxy per request, in microseconds.
    pub(super) cpu: f64,
    /// Latency at full load, in microseconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Requests per second.
    pub(super) rate: f64,
}

impl Measured {
    pub(super) fn new(load: &Load, cpu: Duration) -> Self {
        Self {
            cpu: cpu.as_secs_f64() * 1e6 / load.requests as f64,
            p50: load.p50.as_secs_f64() * 1e6,
            p99: load.p99.as_secs_f64() * 1e6,
            rate: load.requests as f64 / load.lasted.as_secs_f64(),
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, p50, p99, rate } = self;
        write!(f, "{cpu:6.2} µs CPU/request, p50 {p50:6.0} µs, p99 {p99:6.0} µs, {rate:7.0} requests/s")
    }
}

/// Loads an address with keep-alive connections, each sending its next request at once.
pub(super) fn run(address: SocketAddr, connections: usize, lasts: Duration) -> Result<Load> {
    let output = Command::new("wrk")
        .args(["--threads", "1", "--script", REPORT, "--header", &format!("Host: {HOST}")])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{}s", lasts.as_secs().max(1))])
        .arg(format!("http://{address}/"))
        .output()
        .context("running wrk: install it with `apt-get install wrk`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("RESULT ")).with_context(|| {
        format!("wrk said nothing of use: {text}{}", String::from_utf8_lossy(&output.stderr))
    })?;
    let numbers: Vec<u64> =
        line.split(' ').map(str::parse).collect::<Result<_, _>>().context(line.to_owned())?;
    let [requests, errors, p50, p99] = numbers[..] else { anyhow::bail!("wrk reported {line:?}") };
    ensure!(requests > 0, "no request was answered");
    let micros = Duration::from_micros;
    Ok(Load { requests, errors, p50: micros(p50), p99: micros(p99), lasted: lasts })
}
