//! `cargo xtask chaos`: connections live in a lab, something happens to it, and what broke is counted. This file
//! says what a run is; the rest has one part of it each.

pub mod client;
pub mod cluster;
mod enough;
pub mod event;
pub mod events;
pub mod fate;
pub mod judgement;
pub mod kind;
pub mod options;
pub mod picture;
pub mod relay;
pub mod report;
mod run;
pub mod scene;
pub mod stage;
pub mod tally;
pub mod version;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

use self::event::Event;
use self::judgement::Verdict;
use self::options::{Chosen, Options};
use self::relay::Relay;
use self::report::{Report, summary};
use self::run::Run;
use self::stage::{Mode, Stage};
use crate::interrupt::{self, Watch};
use crate::lab::evidence;
use crate::lab::tls::trust;

/// What every event is explained with.
pub const HELP: &str = include_str!("help.txt");

/// A connection broke that may not.
const BROKEN: u8 = 1;

/// A run proves nothing.
const VOID: u8 = 3;

/// How large a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale {
    /// Connections that are held.
    pub connections: usize,
    /// How long connections live before the event, and how long after it until each is asked once more.
    pub around: [Duration; 2],
    /// Bytes and bytes a second of the first download and upload of each IP family, which are to reach their end.
    pub whole: (u64, u64),
}

impl Scale {
    /// As `cargo xtask chaos` has it.
    #[must_use]
    pub const fn full(connections: usize) -> Self {
        let around = [Duration::from_secs(1), Duration::from_secs(4)];
        Self { connections, around, whole: (100_000_000, 10_000_000) }
    }

    /// As the tests have it.
    #[must_use]
    pub const fn short() -> Self {
        let around = [Duration::from_secs(1), Duration::from_secs(2)];
        Self { connections: 280, around, whole: (1_000_000, 500_000) }
    }
}

/// Plays what was asked for, and prints what it proves.
///
/// # Errors
/// If a run failed: not the promise, but the lab or the agents.
pub fn run(options: &Options) -> Result<ExitCode> {
    if options.list {
        for event in options::all() {
            println!("{:<22}{}", event.name(), event.about());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let watch = interrupt::watch()?;
    let (reports, failed) = play_all(options, &watch);
    watch.wait_if_interrupted();
    if options.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else if reports.len() > 1 {
        print!("{}", summary(&reports));
    }
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(exit_code(&reports))
}

/// What was played, and why other events could not be: one that fails does not keep the rest from being played.
fn play_all(options: &Options, watch: &Watch) -> (Vec<Report>, Vec<String>) {
    let scale = Scale::full(options.connections as usize);
    let (mut reports, mut failed) = (Vec::new(), Vec::new());
    let mut in_cluster: Option<cluster::Stage> = None;
    for chosen in options.chosen() {
        let modes = match chosen {
            Chosen::Lab(event) if options.baseline => event.baselines,
            Chosen::Cluster(_) if options.baseline => &[],
            _ => &[Mode::Edgelb],
        };
        if modes.is_empty() {
            eprintln!("{}: no baseline could show anything of it", chosen.name());
        }
        for &mode in modes {
            eprintln!("{} · {}: {}", chosen.name(), mode.label(), chosen.about());
            let report = match chosen {
                Chosen::Lab(event) => play(event, mode, scale),
                Chosen::Cluster(event) => play_in(&mut in_cluster, event, scale),
            };
            match report {
                Ok(report) => {
                    if !options.json {
                        print!("{report}");
                    }
                    reports.push(report);
                }
                Err(error) => {
                    watch.wait_if_interrupted();
                    let why = format!("playing {}: {error:#}", chosen.name());
                    eprintln!("{why}");
                    failed.push(why);
                }
            }
        }
    }
    (reports, failed)
}

/// All such events have one cluster.
fn play_in(cluster: &mut Option<cluster::Stage>, event: &cluster::Event, scale: Scale) -> Result<Report> {
    let stage = match cluster {
        Some(stage) => stage,
        None => cluster.insert(cluster::raise()?),
    };
    cluster::play(event, stage, scale)
}

/// What broke weighs more than what proves nothing.
fn exit_code(reports: &[Report]) -> ExitCode {
    let is = |wanted: fn(&Verdict) -> bool| reports.iter().any(|report| wanted(&report.judgement.verdict));
    match (
        is(|verdict| matches!(verdict, Verdict::Broken(_))),
        is(|verdict| matches!(verdict, Verdict::Void(_))),
    ) {
        (true, _) => ExitCode::from(BROKEN),
        (false, true) => ExitCode::from(VOID),
        (false, false) => ExitCode::SUCCESS,
    }
}

/// Plays one event in a lab of its own.
///
/// # Errors
/// If the lab cannot be raised, the connections cannot be opened, or the event cannot be played.
pub fn play(event: &Event, mode: Mode, scale: Scale) -> Result<Report> {
    let mut run = Run::new(event.name, mode, event.places, scale)?;
    let mut stage = run.took.of("lab", || Stage::raise(event, mode))?;
    let relay = Relay::start(&stage.lab)?;
    let trust = trust(&stage.lab.authority)?;
    let mut report = run.play(&mut stage, trust, event.play)?;
    report.relay = Some(relay.did());
    report.notes.extend(stage.unasked_ends()?);
    if matches!(report.judgement.verdict, Verdict::Broken(_)) {
        report.notes.push(match evidence::save(&stage.lab, None, &format!("chaos-{}", event.name)) {
            Ok(place) => format!("what the agents said is in {}", place.display()),
            Err(error) => format!("what the agents said could not be saved: {error:#}"),
        });
    }
    Ok(report)
}

/// Processor time of the calling thread.
fn thread_time() -> f64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(0.0, |time| time.num_microseconds() as f64 / 1e6)
}
