//! What the proxy is set up with, by the command line.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use http::HeaderValue;
use lb_common::encap::OVERHEAD_V6;
use prometheus_client::registry::Registry;

use crate::beat::Beats;
use crate::cli::Run;
use crate::l4::Uplink;
use crate::l7::access_log::AccessLog;
use crate::l7::trace::{self, Tracing};
use crate::l7::{Bind, Config, Timeouts};
use crate::metrics::{AccessLogMetrics, TraceMetrics};

/// Its settings; where requests are logged or traced, that begins.
pub(super) fn proxy_config(
    run: &Run,
    node: &str,
    uplinks: &[Uplink],
    beats: &Beats,
    registry: &mut Registry,
) -> Result<Config> {
    let workers = match run.workers {
        Some(workers) => workers.into(),
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    let mut config = Config::new(workers, bind(run)?);
    (config.limits, config.trust) = (run.clients.limits(), run.clients.trust());
    config.timeouts = Timeouts {
        upstream_idle: Duration::from_secs(run.upstream_keepalive_timeout.into()),
        ..Timeouts::by(&config.limits)
    };
    config.access_log = access_log(run, registry)?;
    config.tracing = tracing(run, node, registry)?;
    if run.observe.served_by {
        let name = HeaderValue::from_str(node);
        config.served_by = Some(name.with_context(|| format!("--served-by: {node:?} cannot be a header"))?);
    }
    config.route_metrics = run.observe.route_metrics;
    if !run.no_xdp {
        config.beats = beats.clone();
        let smallest = uplinks.iter().map(|uplink| uplink.mtu).min().unwrap_or(u32::MAX);
        // Members may have addresses of either family: what fits in IPv6 fits in IPv4.
        let inner_mtu = smallest.saturating_sub(OVERHEAD_V6 as u32);
        config.inner_mtu = Some(inner_mtu.try_into().unwrap_or(u16::MAX));
    }
    Ok(config)
}

fn bind(run: &Run) -> Result<Bind> {
    let addresses: Vec<_> = run.http.iter().chain(&run.https).copied().collect();
    let twice = addresses.iter().enumerate().find(|(at, address)| addresses[..*at].contains(address));
    if let Some((_, address)) = twice {
        anyhow::bail!("{address} is named twice by --http and --https");
    }
    if !run.no_xdp {
        return Ok(Bind::Both(addresses));
    }
    anyhow::ensure!(
        !addresses.is_empty(),
        "--no-xdp answers on ordinary sockets: say which with --http ADDR, --https ADDR or both"
    );
    Ok(Bind::Addresses(addresses))
}

fn access_log(run: &Run, registry: &mut Registry) -> Result<Option<AccessLog>> {
    let Some(settings) = run.observe.access_log.settings() else { return Ok(None) };
    let words = match &settings.path {
        Some(path) => format!("--access-log {}", path.display()),
        None => "--access-log".to_owned(),
    };
    AccessLog::start(settings, AccessLogMetrics::new(registry)).map(Some).context(words)
}

fn tracing(run: &Run, node: &str, registry: &mut Registry) -> Result<Option<Tracing>> {
    let Some(collector) = run.observe.otlp_endpoint.clone() else { return Ok(None) };
    let settings = trace::Settings { collector, sample: run.observe.trace_sample, node: node.to_owned() };
    Tracing::start(settings, TraceMetrics::new(registry)).map(Some).context("--otlp-endpoint")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn idle_connections_to_endpoints_are_kept_as_long_as_is_said() {
        for (flags, expected) in [(&[][..], 55), (&["--upstream-keepalive-timeout", "4"], 4)] {
            let ordinary = ["lb-agent", "run", "--no-xdp", "--http", "127.0.0.1:80"];
            let cli = Cli::try_parse_from([&ordinary, flags].concat()).expect("flags");
            let Command::Run(run) = cli.command else { panic!("{flags:?} runs no agent") };
            let config = proxy_config(&run, "edge-1", &[], &Beats::default(), &mut Registry::default());
            let kept = config.expect("settings").timeouts.upstream_idle;
            assert_eq!(kept, Duration::from_secs(expected), "{flags:?}");
        }
    }
}
