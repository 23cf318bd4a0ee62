//! What a run prints: a table for people, or JSON for machines.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::fate::{Count, Fate, Flow, count};
use super::judgement::{Judgement, Verdict};
use super::kind::Kind;
use super::relay::Did;
use super::stage::Mode;

/// Reasons that are shown of all that connections had.
const REASONS: usize = 6;

/// One event in one mode.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The event.
    pub event: &'static str,
    /// Who shared out the packets.
    pub mode: Mode,
    /// Connections by kind.
    pub kinds: BTreeMap<Kind, Count>,
    /// Why connections did not live.
    pub reasons: Vec<Reason>,
    /// What is proven.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// Packets by verdict during the event.
    pub packets: BTreeMap<String, u64>,
    /// What the relay did, where there is one.
    pub relay: Option<Did>,
    /// The client's processor time in seconds.
    pub client_cpu_s: f64,
    /// What the event had to say.
    pub notes: Vec<String>,
    /// How long it took.
    pub took: Took,
}

/// Seconds by part, and in all.
#[derive(Clone, Debug, Serialize)]
pub struct Took {
    parts: Vec<(&'static str, f64)>,
    #[serde(skip)]
    start: Instant,
}

impl Default for Took {
    fn default() -> Self {
        Self { parts: Vec::new(), start: Instant::now() }
    }
}

impl Took {
    /// Does a part of the work, and remembers how long it took.
    pub fn of<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.parts.push((name, start.elapsed().as_secs_f64()));
        done
    }

    /// The work is done.
    pub fn end(&mut self) {
        self.parts.push(("all", self.start.elapsed().as_secs_f64()));
    }

    /// Seconds in all.
    fn all(&self) -> f64 {
        self.parts.last().map_or(0.0, |(_, seconds)| *seconds)
    }
}

impl fmt::Display for Took {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts.iter().map(|(name, seconds)| format!("{name} {seconds:.1} s"));
        out.write_str(&parts.collect::<Vec<_>>().join(", "))
    }
}

/// Why connections did not live until they were ended.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Reason {
    /// The kind of connection, how it ended, and why.
    pub why: String,
    /// How many.
    pub times: usize,
    /// When, in seconds after the event began, less than 0 before it: the first and the last.
    pub at_s: [f64; 2],
    /// The first of them, to be looked for in logs and captures.
    pub first: Flow,
}

fn since(began: Instant, at: Instant) -> f64 {
    let before = began.saturating_duration_since(at).as_secs_f64();
    at.saturating_duration_since(began).as_secs_f64() - before
}

/// Counts reasons: those of broken connections first, then the most frequent.
#[must_use]
pub fn reasons(fates: &[Fate], began: Instant) -> Vec<Reason> {
    let mut found: BTreeMap<(bool, String), Reason> = BTreeMap::new();
    for fate in fates.iter().filter(|fate| !fate.why.is_empty()) {
        let why = format!("{}: {:?}: {}", fate.kind.label(), fate.end, fate.why);
        let at = since(began, fate.at);
        let key = (!fate.end.is_broken(), why.clone());
        let reason = found.entry(key).or_insert(Reason { why, times: 0, at_s: [at, at], first: fate.flow });
        reason.times += 1;
        if at < reason.at_s[0] {
            reason.first = fate.flow;
        }
        reason.at_s = [reason.at_s[0].min(at), reason.at_s[1].max(at)];
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|((is_in_order, _), reason)| (*is_in_order, std::cmp::Reverse(reason.times)));
    found.into_iter().map(|(_, reason)| reason).collect()
}

impl Report {
    /// Counts fates.
    #[must_use]
    pub fn kinds(fates: &[Fate]) -> BTreeMap<Kind, Count> {
        count(fates)
    }
}

/// All reports, a line for each.
#[must_use]
pub fn summary(reports: &[Report]) -> String {
    let seconds: f64 = reports.iter().map(|report| report.took.all()).sum();
    let head = format!(
        "\n{:<22}{:>7}{:>7}{:>10}{:>10}{:>8}{:>7}{:>8}{:>9}{:>9}\n",
        "event", "held", "kept", "in order", "deadline", "broken", "new", "failed", "stall", "took"
    );
    let lines: String = reports.iter().map(line).collect();
    format!("{head}{lines}{} events in {seconds:.0} s\n", reports.len())
}

fn line(report: &Report) -> String {
    let sum = |are_held: bool| {
        let of = report.kinds.iter().filter(|(kind, _)| Kind::HELD.contains(kind) == are_held);
        of.fold(Count::default(), |sum, (_, count)| sum.and(count))
    };
    let (held, new) = (sum(true), sum(false));
    let verdict = match &report.judgement.verdict {
        Verdict::Held if report.mode == Mode::Edgelb => "held".to_owned(),
        Verdict::Held => format!("bites ({})", report.mode.label()),
        Verdict::Broken(why) => format!("BROKEN: {why}"),
        Verdict::Void(why) => format!("VOID: {why}"),
    };
    format!(
        "{:<22}{:>7}{:>7}{:>10}{:>10}{:>8}{:>7}{:>8}{:>7.1} s{:>7.1} s  {verdict}\n",
        report.event,
        held.all,
        held.kept,
        held.in_order,
        held.at_deadline,
        held.broken(),
        new.all,
        new.broken(),
        Duration::from_millis(held.longest_stall_ms).as_secs_f64(),
        report.took.all()
    )
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n{} · {} · {}", self.event, self.mode.label(), self.took)?;
        writeln!(
            out,
            "  {:<12}{:>7}{:>8}{:>10}{:>10}{:>8}{:>11}{:>7}{:>15}",
            "kind", "all", "kept", "in order", "deadline", "reset", "timed out", "wrong", "longest stall"
        )?;
        for (kind, count) in &self.kinds {
            row(out, kind.label(), count)?;
        }
        self.figures(out)?;
        for Reason { why, times, at_s: [from, to], first } in self.reasons.iter().take(REASONS) {
            writeln!(out, "  {times:>6} x {why} ({from:.1} to {to:.1} s; first {})", first.client)?;
        }
        match &self.judgement.verdict {
            Verdict::Held if self.mode == Mode::Edgelb => writeln!(out, "  HELD: nothing broke that may not"),
            Verdict::Held => writeln!(out, "  BITES: without edgelb's way the event breaks connections"),
            Verdict::Broken(why) => writeln!(out, "  BROKEN: {why}"),
            Verdict::Void(why) => writeln!(out, "  VOID: {why}"),
        }
    }
}

impl Report {
    fn figures(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Judgement { broken, predicted, predicted_broken, refused, .. } = &self.judgement;
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        writeln!(
            out,
            "  moved: {} to another first hop, {} to another row ({} had three); {} at nodes that the event touched",
            percent(self.judgement.moved_hop),
            percent(self.judgement.moved_row),
            percent(self.judgement.three_openers),
            percent(self.judgement.at_touched),
        )?;
        write!(out, "  broken: {broken} held, {refused} new")?;
        if self.mode != Mode::Edgelb {
            write!(out, "; theory names {predicted}, of which {predicted_broken} broke")?;
        }
        if let Some(recovered) = self.judgement.recovered_s {
            let Judgement { held_by_the_dead, broken_with_the_dead, .. } = &self.judgement;
            write!(
                out,
                "; the dead node had {held_by_the_dead}, of which {broken_with_the_dead} broke; \
                 new ones succeed from {recovered:.2} s after it"
            )?;
        }
        let packets: Vec<_> = self.packets.iter().map(|(label, count)| format!("{label} {count}")).collect();
        let packets = if packets.is_empty() { "none by edgelb".into() } else { packets.join(", ") };
        writeln!(out, "\n  packets: {packets}")?;
        if let Some(Did { handshakes, lost, delayed, repeated, passed }) = self.relay {
            writeln!(
                out,
                "  relay: {handshakes} SYNs and SYN-ACKs: {lost} lost, {delayed} delayed, {repeated} repeated; \
                 {passed} other packets passed"
            )?;
        }
        writeln!(out, "  clients took {:.1} s of processor time", self.client_cpu_s)?;
        self.notes.iter().try_for_each(|note| writeln!(out, "  {note}"))
    }
}

fn row(out: &mut fmt::Formatter<'_>, name: &str, of: &Count) -> fmt::Result {
    writeln!(
        out,
        "  {name:<12}{:>7}{:>8}{:>10}{:>10}{:>8}{:>11}{:>7}{:>12} ms",
        of.all, of.kept, of.in_order, of.at_deadline, of.reset, of.timed_out, of.wrong, of.longest_stall_ms
    )
}
