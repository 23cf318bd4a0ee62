//! What a run prints: a table for people, or JSON for machines.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::fate::{Count, Fate, count};
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
    /// Why connections did not live, and how many.
    pub reasons: Vec<(String, usize)>,
    /// What is proven.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// Packets by verdict during the event.
    pub packets: BTreeMap<String, u64>,
    /// What the relay did.
    pub relay: Did,
    /// The client's processor time in seconds.
    pub client_cpu_s: f64,
    /// What the event had to say.
    pub notes: Vec<String>,
    /// Seconds.
    pub took_s: f64,
}

/// Counts reasons by kind of connection, the most frequent first.
#[must_use]
pub fn reasons(fates: &[Fate]) -> Vec<(String, usize)> {
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for fate in fates.iter().filter(|fate| !fate.why.is_empty()) {
        *counted.entry(format!("{}: {:?}: {}", fate.kind.label(), fate.end, fate.why)).or_default() += 1;
    }
    let mut counted: Vec<_> = counted.into_iter().collect();
    counted.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    counted
}

impl Report {
    /// Counts fates.
    #[must_use]
    pub fn kinds(fates: &[Fate]) -> BTreeMap<Kind, Count> {
        count(fates)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n{} · {} · {:.1} s", self.event, self.mode.label(), self.took_s)?;
        writeln!(
            out,
            "  {:<12}{:>7}{:>8}{:>10}{:>10}{:>8}{:>11}{:>7}{:>15}",
            "kind", "all", "kept", "in order", "deadline", "reset", "timed out", "wrong", "longest stall"
        )?;
        for (kind, count) in &self.kinds {
            row(out, kind.label(), count)?;
        }
        self.figures(out)?;
        for (reason, times) in self.reasons.iter().take(REASONS) {
            writeln!(out, "  {times:>6} x {reason}")?;
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
        let Did { handshakes, lost, delayed, repeated, passed } = self.relay;
        writeln!(
            out,
            "  relay: {handshakes} SYNs and SYN-ACKs: {lost} lost, {delayed} delayed, {repeated} repeated; \
             {passed} other packets passed; clients took {:.1} s of processor time",
            self.client_cpu_s
        )?;
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
