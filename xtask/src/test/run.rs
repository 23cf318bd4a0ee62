//! Runs one tier by cargo, showing its output and counting its tests.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::{failure::Failures, lint, peers, tally::Tally, tier::Tier};
use crate::{build_ebpf, cluster, lab_program::DEV, programs, workspace};

pub(super) fn tier(tier: Tier, failures: &mut Failures) -> Result<Tally> {
    programs::ensure(tier.programs())?;
    if tier == Tier::Proxy {
        peers::ensure()?;
    }
    match tier {
        Tier::Lint => lint::run(),
        Tier::Unit => {
            let mut cargo = workspace::cargo()?;
            count(cargo.args(["test", "--no-fail-fast", "--workspace", "--lib", "--bins"]), failures)
        }
        folder => folder_tests(folder, failures),
    }
}

fn folder_tests(tier: Tier, failures: &mut Failures) -> Result<Tally> {
    let environment = environment(tier)?;
    let mut tally = Tally::default();
    for turn in tier.turns() {
        let mut cargo = workspace::cargo()?;
        cargo.args(["test", "--package", "lb-tests", "--test", tier.name(), "--"]).args(turn.arguments());
        tally += count(cargo.envs(environment.iter().cloned()), failures)?;
    }
    Ok(tally)
}

/// Builds what the tests run, and tells them where it is.
fn environment(tier: Tier) -> Result<Vec<(&'static str, OsString)>> {
    let mut environment = Vec::new();
    if tier.runs_the_agent() {
        let agent = ["build", "--package", "lb-agent", "--bin", "lb-agent"];
        workspace::succeed(workspace::cargo()?.args(agent))?;
        environment.push(("LB_AGENT", workspace::target_dir()?.join("debug").join("lb-agent").into()));
    }
    if tier == Tier::Netns {
        build_ebpf::other()?;
    }
    if let Some(extent) = tier.extent() {
        environment.extend(cluster::build(extent)?);
        if extent == cluster::Extent::Nodes {
            environment.push(cluster::edgelb(&DEV)?);
        }
    }
    Ok(environment)
}

/// Passes the output on as it comes. A run that ends badly without a failed test (it did not compile, say)
/// counts as one failure, and so does a run without any test.
fn count(cargo: &mut Command, failures: &mut Failures) -> Result<Tally> {
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let mut tally = Tally::default();
    for line in BufReader::new(child.stdout.take().context("cargo has no output")?).lines() {
        let line = line.context("cannot read what the tests print")?;
        println!("{line}");
        tally += Tally::from_line(&line).unwrap_or_default();
        failures.read(&line);
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if tally.failed == 0 && (tally.passed == 0 || !status.success()) {
        eprintln!("error: cargo test ended with {status} after {} tests", tally.passed);
        tally += Tally::FAILURE;
    }
    Ok(tally)
}
