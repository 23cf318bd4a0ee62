//! What the agent uses while it is under load.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::proc;

/// How long connections may take to be gone after the last client is.
const PATIENCE: Duration = Duration::from_secs(20);

/// The agent's memory over time, and its descriptors.
#[derive(Debug)]
pub(super) struct Watch {
    pid: u32,
    pods: Vec<SocketAddr>,
    /// Seconds since the load began, and MiB.
    samples: Vec<(f64, f64)>,
}

impl Watch {
    pub(super) fn new(pid: u32, pods: Vec<SocketAddr>) -> Result<Self> {
        let mut watch = Self { pid, pods, samples: Vec::new() };
        watch.look(Duration::ZERO)?;
        Ok(watch)
    }

    pub(super) fn look(&mut self, after: Duration) -> Result<()> {
        self.samples.push((after.as_secs_f64(), self.resident()?));
        Ok(())
    }

    /// MiB.
    pub(super) fn resident(&self) -> Result<f64> {
        Ok(proc::resident_kib(self.pid)? as f64 / 1024.0)
    }

    /// Open descriptors, without the connections that are kept for endpoints.
    pub(super) fn descriptors(&self) -> Result<usize> {
        let all = fs::read_dir(format!("/proc/{}/fd", self.pid))?.count();
        let kept: Result<usize> = self.pods.iter().map(|&pod| proc::connections_to(self.pid, pod)).sum();
        Ok(all.saturating_sub(kept?))
    }

    /// The same once the clients' connections are gone, or when that takes too long.
    pub(super) fn settled(&self, expected: usize) -> Result<usize> {
        let start = Instant::now();
        loop {
            let found = self.descriptors()?;
            if found <= expected || start.elapsed() > PATIENCE {
                return Ok(found);
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What memory grows by in ten minutes, by the line through all samples from this time on.
    pub(super) fn growth(&self, from: Duration) -> f64 {
        let warm: Vec<_> = self.samples.iter().copied().filter(|(at, _)| *at >= from.as_secs_f64()).collect();
        slope(&warm) * 600.0
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, resident) = self.samples.last().copied().unwrap_or_default();
        write!(f, "{resident:.1} MiB")
    }
}

/// Least squares.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len().max(1) as f64;
    let (x, y) = samples.iter().fold((0.0, 0.0), |(x, y), sample| (x + sample.0, y + sample.1));
    let (x, y) = (x / count, y / count);
    let (above, below) = samples.iter().fold((0.0, 0.0), |(above, below), sample| {
        (above + (sample.0 - x) * (sample.1 - y), below + (sample.0 - x).powi(2))
    });
    if below > 0.0 { above / below } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_line_through_the_samples() {
        let line: Vec<_> = (0..100).map(|n| (f64::from(n), 3.0 + 0.5 * f64::from(n))).collect();
        assert!((slope(&line) - 0.5).abs() < 1e-9);
        assert!(slope(&[(1.0, 5.0)]).abs() < 1e-9);
        assert!(slope(&[]).abs() < 1e-9);
    }
}
