//! `cargo xtask chaos`: builds, and lets `lb-chaos` count what breaks.

use std::{convert::Infallible, ffi::OsString};

use anyhow::{Context, Result};

use crate::{
    build_ebpf,
    cluster::{self, Extent},
    lab_program::{LAB, LabProgram},
    preflight,
    programs::{self, NODE},
};

const CHAOS: LabProgram =
    LabProgram { name: "lb-chaos", profile: LAB, helpers: &["lb-lab"], needs_agent: true };

/// What `lb-chaos` is told.
#[derive(clap::Args)]
#[command(after_help = include_str!("../../tests/src/chaos/help.txt"))]
pub(crate) struct Options {
    /// Names of events, or --all, or --list; --connections N (3000 unless told, 20000 at most), --baseline, --json.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<OsString>,
}

/// Returns only if it fails: else `lb-chaos` runs in this process's place.
pub(crate) fn run(options: &Options) -> Result<Infallible> {
    preflight::lab("chaos")?;
    CHAOS.build()?;
    build_ebpf::other()?;
    let environment = if needs_cluster(&options.arguments) { cluster()? } else { Vec::new() };
    CHAOS.replace_us(&options.arguments, &environment)
}

/// A baseline has no event in a cluster.
fn needs_cluster(arguments: &[OsString]) -> bool {
    let is = |wanted: &dyn Fn(&str) -> bool| arguments.iter().any(|it| it.to_str().is_some_and(wanted));
    let is_asked = is(&|argument| argument == "--all" || argument.starts_with("cluster-"));
    is_asked && !is(&|argument| ["--baseline", "--list"].contains(&argument))
}

fn cluster() -> Result<Vec<(&'static str, OsString)>> {
    programs::ensure(&NODE)?;
    let mut environment =
        cluster::build(Extent::Nodes).context("events in a cluster need one; others can be named")?;
    environment.push(cluster::edgelb(&LAB)?);
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::needs_cluster;

    #[test]
    fn a_cluster_is_built_for_its_own_events_only() {
        for (arguments, expected) in [
            (&["--all"][..], true),
            (&["node-added", "cluster-rolled"], true),
            (&["node-added", "--json"], false),
            (&["--all", "--baseline"], false),
            (&["--all", "--list"], false),
        ] {
            let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
            assert_eq!(needs_cluster(&arguments), expected, "{arguments:?}");
        }
    }
}
