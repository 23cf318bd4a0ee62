//! `cargo xtask bench NAME`: builds what is shipped, and lets `lb-bench` measure it.

mod peers;

use std::{convert::Infallible, ffi::OsString};

use anyhow::Result;

use crate::cluster;
use crate::dist;
use crate::lab_program::{DEV, DIST, LabProgram};
use crate::programs;

/// Benchmarks that start no agent.
const WITHOUT_AGENT: [&str; 3] = ["live", "tables", "xdp"];
/// Those of them that measure the kernel program alone: it is the same under every profile, and the quickest to build is
/// already there.
const UNDER_ANY_PROFILE: [&str; 2] = ["live", "xdp"];

/// What `lb-bench` is told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The benchmark: `xdp` (ns per packet), `live` (packets per second of one core, beside Linux' own), `l7` (CPU per request and more
    /// beside nginx, HAProxy, Envoy and Traefik), `folder`
    /// (time until a change of a file is live, memory), `control` (the same from a real API server),
    /// `translate` (what a change costs from the index to the proxy, within one process), or `tables` (filling and
    /// changing those of many backend sets).
    name: String,
    /// Passed on to the benchmark, such as `--pin DIR`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Returns only if it fails: else the benchmark runs in this process's place.
pub(crate) fn run(options: Options) -> Result<Infallible> {
    let name = options.name.as_str();
    if name == "live" {
        programs::ensure(&[programs::NFT])?;
    }
    let profile = if UNDER_ANY_PROFILE.contains(&name) { DEV } else { DIST };
    let bench = LabProgram { name: "lb-bench", profile, helpers: &["lb-lab"], needs_agent: false };
    let mut environment = match name {
        "l7" => peers::install(&options.arguments)?,
        "control" => cluster::build(cluster::Extent::ControlPlane)?,
        _ => Vec::new(),
    };
    if !WITHOUT_AGENT.contains(&name) {
        environment.extend(dist::agent()?);
    }
    bench.build()?;
    let arguments: Vec<_> = [OsString::from(options.name)].into_iter().chain(options.arguments).collect();
    bench.replace_us(&arguments, &environment)
}
