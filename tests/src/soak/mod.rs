//! `cargo xtask soak`: clients of all kinds at one agent for half an hour, while routes, endpoints and certificates change
//! all the time. No request may fail, memory may not grow, and no descriptor may be left.

mod load;
mod site;
mod tally;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use self::site::Site;
use self::tally::Tally;
use self::watch::Watch;

/// Between two changes of the folder.
const CHURN: Duration = Duration::from_millis(250);
/// Between two looks at the agent.
const LOOK: Duration = Duration::from_secs(2);
/// Between two lines on the terminal.
const TELL: Duration = Duration::from_secs(30);

/// What memory may grow by in ten minutes, once caches and pools are warm, MiB.
const GROWTH: f64 = 1.0;
/// Growth is judged over this time at least: a shorter one is all noise.
const LEAST: Duration = Duration::from_secs(600);
/// Descriptors more than at the start, beside connections that are kept for endpoints.
const DESCRIPTORS: usize = 4;

/// What to do.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Options {
    /// Minutes of load. Memory is judged in the last two thirds, if they are ten minutes at least.
    #[arg(long, default_value_t = 30.0)]
    pub minutes: f64,
    /// Print the result as JSON, too.
    #[arg(long)]
    pub json: bool,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// How long there was load, seconds.
    pub seconds: f64,
    /// Exchanges that went as they should, by kind of client.
    pub done: Vec<(&'static str, u64)>,
    /// Those that did not, with why; the first ones.
    pub failed: Vec<String>,
    /// Changes of the folder.
    pub changes: u64,
    /// Resident memory at the end, MiB.
    pub resident: f64,
    /// What it grew by in ten minutes, MiB; none if the time was too short to say.
    pub growth: Option<f64>,
    /// Descriptors of the agent before the load and after it, without connections kept for endpoints.
    pub descriptors: [usize; 2],
}

impl Outcome {
    /// What is wrong with it.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.failed.clone();
        if let Some(growth) = self.growth.filter(|growth| *growth >= GROWTH) {
            faults.push(format!("memory grows by {growth:.2} MiB in ten minutes"));
        }
        let [before, after] = self.descriptors;
        if after > before + DESCRIPTORS {
            faults.push(format!("{after} descriptors after the load, {before} before it"));
        }
        faults
            .extend(self.done.iter().filter(|(_, done)| *done == 0).map(|(kind, _)| format!("{kind}: none")));
        faults
    }
}

/// Runs it, tells of it, and says by the exit code whether all is well.
///
/// # Errors
/// If the agent or the backends cannot be started.
pub fn run(options: &Options) -> Result<ExitCode> {
    let outcome = play(Duration::from_secs_f64(options.minutes * 60.0), |line| eprintln!("edgelb: {line}"))?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    }
    for (kind, done) in &outcome.done {
        eprintln!("  {kind:<12} {done:>10}");
    }
    let growth = outcome.growth.map_or("too short to say".to_owned(), |growth| format!("{growth:+.2} MiB"));
    eprintln!(
        "{:.0} s, {} changes; memory {:.1} MiB, in ten minutes {growth}; descriptors {:?}",
        outcome.seconds, outcome.changes, outcome.resident, outcome.descriptors
    );
    let faults = outcome.faults();
    faults.iter().for_each(|fault| eprintln!("FAULT: {fault}"));
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Load for so long.
///
/// # Errors
/// As `run`.
pub fn play(lasts: Duration, tell: impl Fn(&str)) -> Result<Outcome> {
    let mut site = Site::start()?;
    let mut watch = Watch::new(site.agent(), site.pods())?;
    let before = watch.descriptors()?;
    let tally = Arc::new(Tally::default());
    let load = load::start(site.targets(), tally.clone())?;
    let (start, mut told, mut looked) = (Instant::now(), Instant::now(), Instant::now());
    let mut changes = 0;
    while start.elapsed() < lasts {
        thread::sleep(CHURN);
        site.change(changes)?;
        changes += 1;
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            watch.look(start.elapsed()).context("the agent is gone")?;
        }
        if told.elapsed() >= TELL {
            told = Instant::now();
            tell(&format!("{:.0} s: {tally}; {watch}", start.elapsed().as_secs_f64()));
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    load.end()?;
    let after = watch.settled(before + DESCRIPTORS)?;
    let judged = lasts.mul_f64(2.0 / 3.0);
    ensure!(site.is_alive()?, "the agent ended under load");
    Ok(Outcome {
        seconds,
        done: tally.done(),
        failed: tally.failures(),
        changes,
        resident: watch.resident()?,
        growth: (judged >= LEAST).then(|| watch.growth(lasts - judged)),
        descriptors: [before, after],
    })
}
