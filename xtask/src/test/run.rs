//! Runs one tier by cargo, showing its output and counting its tests.

use std::{
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
        folder => count(&mut folder_test(folder)?, failures),
    }
}

fn folder_test(tier: Tier) -> Result<Command> {
    let mut cargo = workspace::cargo()?;
    cargo.args(["test", "--package", "lb-tests", "--test", tier.name()]);
    if tier.runs_the_agent() {
        workspace::succeed(workspace::cargo()?.args([
            "build",
            "--package",
            "lb-agent",
            "--bin",
            "lb-agent",
        ]))?;
        cargo.env("LB_AGENT", workspace::target_dir()?.join("debug").join("lb-agent"));
        cargo.args(["--", &format!("--test-threads={}", tier.threads())]);
    }
    if tier == Tier::Netns {
        build_ebpf::other()?;
    }
    if let Some(extent) = tier.extent() {
        cargo.envs(cluster::build(extent)?);
        if extent == cluster::Extent::Nodes {
            cargo.envs([cluster::edgelb(&DEV)?]);
        }
    }
    Ok(cargo)
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
