//! `cargo xtask test [TIER...]`: runs the tiers one after the other and sums them up. Its last line is
//! `N passed, N failed`; a tier that could not run is never part of what passed.

mod failure;
mod lint;
mod peers;
mod report;
mod run;
mod tally;
mod tier;

use std::process::ExitCode;

use anyhow::Result;

use failure::Failures;
use report::{Outcome, Report};
use tier::Tier;

/// Which tiers to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The tiers to run, from the one that needs least to the one that needs most [default: all there are].
    tiers: Vec<Tier>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let tiers = if options.tiers.is_empty() { Tier::all_present()? } else { options.tiers.clone() };
    let (mut report, mut failures) = (Report::default(), Failures::default());
    for tier in tiers {
        println!("\n=== {tier}: {}", tier.proves());
        report.time(tier, || outcome(tier, &mut failures));
    }
    println!("{failures}{report}");
    Ok(if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A tier that cannot run here is a failure where `LB_TEST_REQUIRE` demands all of them.
fn outcome(tier: Tier, failures: &mut Failures) -> Outcome {
    match tier.missing() {
        None => Outcome::from(run::tier(tier, failures)),
        Some(reason) if std::env::var_os("LB_TEST_REQUIRE").is_some() => Outcome::Failed(reason),
        Some(reason) => Outcome::NotRun(reason),
    }
}
