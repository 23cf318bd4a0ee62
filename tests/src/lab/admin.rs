//! Asking an agent over its admin socket.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::http::{Answer, Connection};

/// How long an agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// `GET path`.
pub(crate) fn fetch(socket: &Path, path: &str) -> Result<Answer> {
    let stream = UnixStream::connect(socket).with_context(|| format!("{}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Connection::new(stream).fetch("localhost", path)
}

/// Succeeds once the agent is ready.
pub(crate) fn ready(socket: &Path) -> Result<()> {
    let answer = fetch(socket, "/readyz")?;
    ensure!(answer.status == 200, "/readyz: {}", String::from_utf8_lossy(&answer.body));
    Ok(())
}

/// One series of `/metrics`.
pub(crate) fn metric(socket: &Path, series: &str) -> Result<f64> {
    let answer = fetch(socket, "/metrics")?;
    value(str::from_utf8(&answer.body)?, series).with_context(|| format!("no series {series}"))
}

fn value(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_found_by_its_whole_name() {
        let text = "# HELP a b\na_total_more 1\na_total{x=\"y\"} 2\na_total 3\n";
        assert_eq!(value(text, "a_total"), Some(3.0));
        assert_eq!(value(text, "a_total{x=\"y\"}"), Some(2.0));
        assert_eq!(value(text, "a"), None);
    }
}
