//! `cargo xtask chaos`: connections live in a lab, something happens to it, and what broke is counted. This file
//! says what a run is; the rest has one part of it each.

pub mod client;
pub mod event;
pub mod events;
pub mod fate;
pub mod judgement;
pub mod kind;
pub mod options;
pub mod picture;
pub mod relay;
pub mod report;
pub mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

use self::client::{Clients, Plan};
use self::event::{ALL, Event};
use self::fate::after_deadline;
use self::judgement::{Seen, Verdict};
use self::options::Options;
use self::picture::{first_hops, holders};
use self::relay::Relay;
use self::report::{Report, reasons};
use self::stage::{Mode, Packets, Stage, pass};
use crate::interrupt;
use crate::lab::tls::trust;

/// What every event is explained with.
pub const HELP: &str = include_str!("help.txt");

/// A connection broke that may not.
const BROKEN: u8 = 1;

/// A run proves nothing.
const VOID: u8 = 3;

/// Descriptors for a connection: its own, and as much again for all else.
const DESCRIPTORS: u64 = 2;

/// How large a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale {
    /// Connections that are held.
    pub connections: usize,
    /// How long connections live before the event, and how long after it until each is asked once more.
    pub around: [Duration; 2],
    /// Bytes and bytes a second of the first download of each IP family, which is to reach its end.
    pub whole: (u64, u64),
}

impl Scale {
    /// As `cargo xtask chaos` has it.
    #[must_use]
    pub const fn full(connections: usize) -> Self {
        let around = [Duration::from_secs(2), Duration::from_secs(5)];
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
        for Event { name, about, .. } in ALL {
            println!("{name:<22}{about}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let watch = interrupt::watch()?;
    let result = play_all(options);
    watch.wait_if_interrupted();
    let reports = result?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    }
    Ok(exit_code(&reports))
}

fn play_all(options: &Options) -> Result<Vec<Report>> {
    let events: Vec<&Event> = if options.all { ALL.iter().collect() } else { options.events.clone() };
    let scale = Scale::full(options.connections as usize);
    let mut reports = Vec::new();
    for event in events {
        let modes = if options.baseline { event.baselines } else { &[Mode::Edgelb] };
        if modes.is_empty() {
            eprintln!("{}: breaks nothing that a baseline could show", event.name);
        }
        for &mode in modes {
            eprintln!("{} · {}: {}", event.name, mode.label(), event.about);
            let report = play(event, mode, scale).with_context(|| format!("playing {}", event.name))?;
            if !options.json {
                print!("{report}");
            }
            reports.push(report);
        }
    }
    Ok(reports)
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

/// Plays one event.
///
/// # Errors
/// If the lab cannot be raised, the connections cannot be opened, or the event cannot be played.
pub fn play(event: &Event, mode: Mode, scale: Scale) -> Result<Report> {
    let start = Instant::now();
    allow_descriptors(scale.connections as u64)?;
    let mut stage = Stage::raise(event, mode)?;
    let relay = Relay::start(&stage.lab)?;
    let plan = Plan {
        connections: scale.connections,
        vip: stage.lab.vip(),
        tls: trust(&stage.lab.authority)?,
        whole: scale.whole,
        patience: Duration::from_secs(30 + scale.connections as u64 / 50),
    };
    let clients = Clients::open(&stage.lab.client, &plan)?;
    stage.flows = clients.flows();
    pass(scale.around[0]);
    let holders = holders(&stage.lab)?;
    stage.note_openers()?;
    let (hops, packets) = (first_hops(&stage.lab, &stage.flows)?, stage.packets());
    let played = (event.play)(&mut stage)?;
    pass(scale.around[1]);
    let hops = [hops, first_hops(&stage.lab, &stage.flows)?];
    let packets = counted(&packets, &stage.packets());
    let (mut fates, client_cpu_s) = clients.end()?;
    after_deadline(&mut fates, played.deadline);
    let names = |nodes: &[usize]| -> BTreeSet<String> {
        nodes.iter().map(|&node| stage.lab.edges[node].name.clone()).collect()
    };
    let seen = Seen {
        mode,
        flows: stage.flows.clone(),
        hops,
        openings: stage.openings.clone(),
        holders,
        dead: names(&played.dead),
        touched: names(&played.touched),
        began: played.began,
        needs_three_openers: event.needs_three_openers,
        fates,
    };
    ensure!(seen.fates.len() >= scale.connections, "connections are missing");
    Ok(Report {
        event: event.name,
        mode,
        kinds: Report::kinds(&seen.fates),
        reasons: reasons(&seen.fates),
        judgement: seen.judge(),
        packets,
        relay: relay.did(),
        client_cpu_s,
        notes: played.notes,
        took_s: start.elapsed().as_secs_f64(),
    })
}

/// By verdict, what the nodes counted that answered both times.
fn counted(before: &Packets, after: &Packets) -> BTreeMap<String, u64> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for (node, after) in after {
        let Some(before) = before.get(node) else { continue };
        for (verdict, count) in after {
            let more = count - before.get(verdict).copied().unwrap_or_default();
            *sums.entry(verdict.clone()).or_default() += more.max(0.0) as u64;
        }
    }
    sums.retain(|_, count| *count > 0);
    sums
}

/// Agents and pods inherit it, too.
fn allow_descriptors(connections: u64) -> Result<()> {
    let wanted = DESCRIPTORS * connections + 4_096;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted))
            .with_context(|| format!("{wanted} open files (the limit is {hard})"))?;
    }
    Ok(())
}

/// Processor time of the calling thread.
fn thread_time() -> f64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(0.0, |time| time.num_microseconds() as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_those_of_nodes_that_answered_twice() {
        let node = |name: &str, sent| (name.to_owned(), BTreeMap::from([("sent".to_owned(), sent)]));
        let before = Packets::from([node("edge-1", 5.0), node("edge-2", 7.0)]);
        let after = Packets::from([node("edge-1", 9.0), node("edge-3", 2.0)]);
        assert_eq!(counted(&before, &after), BTreeMap::from([("sent".to_owned(), 4)]));
        assert!(counted(&before, &before).is_empty());
    }
}
