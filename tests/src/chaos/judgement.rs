//! What a run proves: whether the promise held, and whether there was anything to break. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::fate::{Fate, Flow, broken};
use super::kind::Kind;
use super::picture::Nodes;
use super::stage::Mode;

/// Flows that an event must have moved, of all.
const MOVED: f64 = 0.2;

/// Flows that must have broken in a baseline, of those that theory names.
const BITTEN: f64 = 0.8;

/// New connections must succeed again so soon after a death, each within the same time.
const RECOVERED: Duration = Duration::from_secs(1);

/// What was seen of a run.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Who shared out the packets.
    pub mode: Mode,
    /// The connections that were held.
    pub flows: Vec<Flow>,
    /// What became of all connections.
    pub fates: Vec<Fate>,
    /// The router's next hops before and after each change; the last ones are those of the end.
    pub hops: Vec<Nodes>,
    /// Openers, likewise.
    pub openings: Vec<Nodes>,
    /// Who had which connection before.
    pub holders: BTreeMap<Flow, String>,
    /// Nodes that died.
    pub dead: BTreeSet<String>,
    /// When they did; when the event began, if nobody died.
    pub died: Instant,
    /// Nodes whose agent was replaced, stopped or stalled.
    pub touched: BTreeSet<String>,
    /// Nodes that drained.
    pub drained: BTreeSet<String>,
    /// Share of the new connections that may fail though nobody died.
    pub may_fail: f64,
    /// How far down rows flows must be found, and as many openers some must have had.
    pub places: u8,
    /// Packets whose flow was found at the second and the third place of its row.
    pub found: [u64; 2],
}

/// What it proves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "is", content = "why", rename_all = "kebab-case")]
pub enum Verdict {
    /// No connection broke that was not to break; a baseline broke what theory names.
    Held,
    /// Connections broke.
    Broken(String),
    /// Nothing is proven.
    Void(String),
}

/// The figures behind it.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// What is proven.
    pub verdict: Verdict,
    /// Held connections that broke.
    pub broken: usize,
    /// Of them, those that a dead node had.
    pub broken_with_the_dead: usize,
    /// Connections that a dead node had.
    pub held_by_the_dead: usize,
    /// New connections that failed, other than at once after a death.
    pub refused: usize,
    /// So many of them may.
    pub may_be_refused: usize,
    /// Seconds from a death until new connections succeed; none without a death.
    pub recovered_s: Option<f64>,
    /// Share of the flows that had another first hop, of those of IPv4.
    pub moved_hop: f64,
    /// Share of the flows that had another opener.
    pub moved_row: f64,
    /// Share of the flows at a node that died, stalled or got another agent.
    pub at_touched: f64,
    /// Share of the flows that had three openers or more.
    pub three_openers: f64,
    /// Connections that a baseline breaks in theory.
    pub predicted: usize,
    /// Of them, those that broke.
    pub predicted_broken: usize,
}

impl Seen {
    /// What it proves.
    #[must_use]
    pub fn judge(&self) -> Judgement {
        let (held, new): (Vec<Fate>, Vec<Fate>) =
            self.fates.iter().cloned().partition(|fate| Kind::HELD.contains(&fate.kind));
        let broken = broken(&held);
        let of_the_dead: BTreeSet<Flow> = self.flows_of(&self.dead);
        let predicted = self.predicted();
        let late = new.iter().filter(|fate| self.is_refused(fate));
        let mut judgement = Judgement {
            verdict: Verdict::Held,
            broken: broken.len(),
            broken_with_the_dead: broken.intersection(&of_the_dead).count(),
            held_by_the_dead: of_the_dead.len(),
            refused: late.count(),
            may_be_refused: (self.may_fail * new.len() as f64) as usize,
            recovered_s: (!self.dead.is_empty()).then(|| self.recovered(&new).as_secs_f64()),
            moved_hop: self.moved_hops(),
            moved_row: self.share(self.with_openers(1)),
            at_touched: self.share(self.flows_of(&self.touched).union(&of_the_dead).count()),
            three_openers: self.share(self.with_openers(2)),
            predicted: predicted.len(),
            predicted_broken: predicted.intersection(&broken).count(),
        };
        judgement.verdict = self.verdict(&judgement);
        judgement
    }

    /// What broke is broken, however little the event concerned.
    fn verdict(&self, of: &Judgement) -> Verdict {
        let broke = Some(of).filter(|_| self.mode == Mode::Edgelb).and_then(broke);
        let is_late_alone = of.broken == of.broken_with_the_dead && of.refused <= of.may_be_refused;
        if let Some(slow) = self.slow_before().filter(|_| broke.is_some() && is_late_alone) {
            let seconds = slow.as_secs_f64();
            return Verdict::Void(format!("new connections took {seconds:.1} s before the death already"));
        }
        let void = || self.proves_nothing(of).map(Verdict::Void);
        broke.map(Verdict::Broken).or_else(void).unwrap_or(Verdict::Held)
    }

    fn proves_nothing(&self, of: &Judgement) -> Option<String> {
        let moved = of.moved_hop.max(of.moved_row);
        if moved < MOVED {
            return Some(format!("only {:.0} % of the flows moved", 100.0 * moved));
        }
        let touches = !self.touched.is_empty() || !self.dead.is_empty();
        if touches && of.at_touched < MOVED {
            return Some(format!("only {:.0} % were at nodes that the event touched", 100.0 * of.at_touched));
        }
        if self.mode != Mode::Edgelb {
            let least = BITTEN * of.predicted as f64;
            return ((of.predicted_broken as f64) < least || of.predicted == 0)
                .then(|| format!("{} of the {} that theory names broke", of.predicted_broken, of.predicted));
        }
        if self.places == 3 && of.three_openers == 0.0 {
            return Some("no flow had three openers".into());
        }
        let unused = (2..=self.places).zip(self.found).find(|(_, packets)| *packets == 0);
        unused.map(|(place, _)| format!("no flow was found at place {place} of its row"))
    }

    /// What breaks without the second chance: flows that are at another node now, and those that were for a while and have
    /// something to say all the time. Who has nothing to say hears that a node which drains closes.
    fn predicted(&self) -> BTreeSet<Flow> {
        let places = match self.mode {
            Mode::Edgelb => return BTreeSet::new(),
            Mode::RandomEcmp => &self.hops,
            Mode::ConsistentHashing => &self.openings,
        };
        let idle: BTreeSet<Flow> =
            self.fates.iter().filter(|fate| fate.kind == Kind::Idle).map(|fate| fate.flow).collect();
        let closed: BTreeSet<Flow> = self.flows_of(&self.drained).intersection(&idle).copied().collect();
        let found = self.flows.iter().enumerate().filter(|&(index, flow)| {
            let ends = [places.first(), places.last()].map(|end| end.map(|nodes| &nodes[index]));
            let was_elsewhere = distinct(places, index).len() > 1 && !idle.contains(flow);
            (ends[0] != ends[1] || was_elsewhere) && !closed.contains(flow)
        });
        found.map(|(_, &flow)| flow).collect()
    }

    /// Of those whose next hop is known.
    fn moved_hops(&self) -> f64 {
        let is_known = |flow: &usize| self.hops.first().is_some_and(|nodes| nodes[*flow].is_some());
        let known = (0..self.flows.len()).filter(is_known);
        let moved = known.clone().filter(|&flow| distinct(&self.hops, flow).len() > 1).count();
        moved as f64 / known.count().max(1) as f64
    }

    /// Flows that had more than so many openers.
    fn with_openers(&self, more_than: usize) -> usize {
        (0..self.flows.len()).filter(|&flow| distinct(&self.openings, flow).len() > more_than).count()
    }

    fn flows_of(&self, nodes: &BTreeSet<String>) -> BTreeSet<Flow> {
        let held =
            self.flows.iter().filter(|flow| self.holders.get(flow).is_some_and(|at| nodes.contains(at)));
        held.copied().collect()
    }

    /// A failure that no death excuses: one that was under way then, or began soon after it, is the dead node's.
    fn is_refused(&self, fate: &Fate) -> bool {
        let was_there = fate.at + fate.stall >= self.died && fate.at <= self.died + RECOVERED;
        let is_excused = !self.dead.is_empty() && was_there;
        fate.end.is_broken() && !is_excused
    }

    /// Until when new connections failed, or took longer than they may.
    fn recovered(&self, new: &[Fate]) -> Duration {
        // Those of the relay wait for its sake.
        let bad = new
            .iter()
            .filter(|fate| fate.end.is_broken() || fate.kind == Kind::Connect && fate.stall > RECOVERED);
        let last = bad.map(|fate| fate.at.saturating_duration_since(self.died)).max();
        last.unwrap_or_default()
    }

    /// How long new connections took before anybody died, if that is longer than they may take after it: the machine has no room
    /// for its clients, and says nothing of how soon they succeed again.
    fn slow_before(&self) -> Option<Duration> {
        let new = self.fates.iter().filter(|fate| fate.kind == Kind::Connect && !self.dead.is_empty());
        let before = new.filter(|fate| fate.at + fate.stall < self.died);
        before.map(|fate| fate.stall).max().filter(|&slow| slow > RECOVERED)
    }

    fn share(&self, flows: usize) -> f64 {
        flows as f64 / self.flows.len().max(1) as f64
    }
}

/// Where a flow was.
fn distinct(places: &[Nodes], flow: usize) -> BTreeSet<&Option<String>> {
    places.iter().map(|nodes| &nodes[flow]).collect()
}

/// What broke that may not.
fn broke(of: &Judgement) -> Option<String> {
    let others = of.broken - of.broken_with_the_dead;
    let late = of.recovered_s.filter(|&seconds| seconds > RECOVERED.as_secs_f64());
    match (others, of.refused.saturating_sub(of.may_be_refused), late) {
        (1.., _, _) => Some(format!("{others} connections broke")),
        (0, 1.., None) => Some(format!("{} new connections failed", of.refused)),
        (0, _, Some(late)) => Some(format!("new connections failed until {late:.1} s after the death")),
        (0, 0, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::fate::{End, tests::fate};

    /// Ten held connections, of which those before `moved` have another first hop and opener at the end.
    fn seen(mode: Mode, moved: usize, ends: impl Fn(usize) -> End) -> Seen {
        let began = Instant::now();
        let fates: Vec<Fate> = (0..10).map(|n| fate(Kind::Idle, n as u16, ends(n), began)).collect();
        let flows: Vec<Flow> = fates.iter().map(|fate| fate.flow).collect();
        let nodes =
            |moved| (0..10).map(|n| Some(if n < moved { "edge-2" } else { "edge-1" }.into())).collect();
        let (before, after): (Nodes, Nodes) = (nodes(0), nodes(moved));
        Seen {
            mode,
            holders: flows.iter().map(|&flow| (flow, "edge-1".into())).collect(),
            flows,
            fates,
            hops: vec![before.clone(), after.clone()],
            openings: vec![before, after],
            dead: BTreeSet::new(),
            died: began,
            touched: BTreeSet::new(),
            drained: BTreeSet::new(),
            may_fail: 0.0,
            places: 1,
            found: [0, 0],
        }
    }

    fn kept(_: usize) -> End {
        End::Kept
    }

    #[test]
    fn a_run_holds_breaks_or_proves_nothing() {
        assert_eq!(seen(Mode::Edgelb, 3, kept).judge().verdict, Verdict::Held);
        let one = seen(Mode::Edgelb, 3, |n| if n == 7 { End::Reset } else { End::InOrder }).judge();
        assert_eq!((one.broken, &one.verdict), (1, &Verdict::Broken("1 connections broke".into())));
        assert!(matches!(seen(Mode::Edgelb, 1, kept).judge().verdict, Verdict::Void(_)));
        let mut there_and_back = seen(Mode::Edgelb, 3, kept);
        there_and_back.hops.push(there_and_back.hops[0].clone());
        there_and_back.openings.pop();
        assert_eq!((there_and_back.judge().moved_hop, there_and_back.judge().moved_row), (0.3, 0.0));
        assert_eq!(there_and_back.judge().verdict, Verdict::Held);
        there_and_back.touched.insert("edge-2".into());
        assert!(matches!(there_and_back.judge().verdict, Verdict::Void(_)), "nobody was at edge-2");
        let idle_and_broken = seen(Mode::Edgelb, 1, |n| if n == 7 { End::Reset } else { End::Kept });
        assert!(matches!(idle_and_broken.judge().verdict, Verdict::Broken(_)));
        let mut three = seen(Mode::Edgelb, 3, kept);
        three.places = 3;
        let void = |run: &Seen| matches!(run.judge().verdict, Verdict::Void(_));
        assert!(void(&three));
        three.openings.push(vec![Some("edge-3".into()); 10]);
        for (found, is_void) in [([0, 0], true), ([0, 7], true), ([7, 0], true), ([7, 1], false)] {
            three.found = found;
            assert_eq!(void(&three), is_void, "{found:?}");
        }
        assert_eq!(three.judge().three_openers, 0.3);
    }

    #[test]
    fn a_baseline_must_break_what_theory_names() {
        for mode in [Mode::ConsistentHashing, Mode::RandomEcmp] {
            let breaks = |broken: usize| {
                seen(mode, 5, move |n| if n < broken { End::Reset } else { End::Kept }).judge()
            };
            assert_eq!((breaks(4).predicted, breaks(4).verdict), (5, Verdict::Held));
            assert!(matches!(breaks(3).verdict, Verdict::Void(_)));
            // Others than those that theory names do not count.
            let others = seen(mode, 5, |n| if n < 5 { End::Kept } else { End::Reset }).judge();
            assert_eq!(others.predicted_broken, 0);
            assert!(matches!(others.verdict, Verdict::Void(_)));
            let mut there_and_back = seen(mode, 5, kept);
            there_and_back.fates[..2].iter_mut().for_each(|fate| fate.kind = Kind::Tls);
            for places in [&mut there_and_back.hops, &mut there_and_back.openings] {
                places.push(places[0].clone());
            }
            assert_eq!(there_and_back.judge().predicted, 2, "who is idle did not notice");
            let mut drained = seen(mode, 5, kept);
            drained.drained.insert("edge-1".into());
            assert_eq!(drained.judge().predicted, 0, "all are idle, and hear of it");
        }
    }

    #[test]
    fn a_death_excuses_what_the_dead_held_and_one_second() {
        let mut killed = seen(Mode::Edgelb, 3, |n| if n < 3 { End::TimedOut } else { End::Kept });
        killed.dead = BTreeSet::from(["edge-3".into()]);
        for flow in &killed.flows[..3] {
            killed.holders.insert(*flow, "edge-3".into());
        }
        assert_eq!(killed.judge().verdict, Verdict::Held);
        let call = |after: u64, end| fate(Kind::Connect, 99, end, killed.died + Duration::from_millis(after));
        let (soon, late) = (call(900, End::TimedOut), call(1_100, End::Reset));
        killed.fates.push(soon);
        assert_eq!(killed.judge().verdict, Verdict::Held);
        assert_eq!(killed.judge().recovered_s, Some(0.9));
        killed.fates.push(late);
        assert!(matches!(killed.judge().verdict, Verdict::Broken(why) if why.contains("1.1 s after")));
        killed.fates.truncate(10);
        // Each takes 99 ms.
        killed.fates.push(fate(Kind::Connect, 99, End::Reset, killed.died - Duration::from_millis(50)));
        assert_eq!(killed.judge().verdict, Verdict::Held, "it was under way");
        killed.fates.push(fate(Kind::Connect, 99, End::Reset, killed.died - Duration::from_millis(100)));
        assert!(matches!(killed.judge().verdict, Verdict::Broken(why) if why.contains("1 new")));
        killed.fates.truncate(10);
        killed.holders.insert(killed.flows[0], "edge-1".into());
        assert_eq!(killed.judge().verdict, Verdict::Broken("1 connections broke".into()));
    }

    #[test]
    fn a_machine_without_room_proves_nothing_of_the_time_after_a_death() {
        let mut killed = seen(Mode::Edgelb, 3, kept);
        killed.dead = BTreeSet::from(["edge-3".into()]);
        let mut slow = fate(Kind::Connect, 99, End::Kept, killed.died - Duration::from_secs(5));
        slow.stall = Duration::from_millis(1_200);
        let late = Fate { at: killed.died + Duration::from_secs(2), ..slow.clone() };
        killed.fates.push(late);
        assert!(matches!(killed.judge().verdict, Verdict::Broken(why) if why.contains("2.0 s after")));
        killed.fates.push(slow);
        assert!(matches!(killed.judge().verdict, Verdict::Void(why) if why.contains("took 1.2 s before")));
        killed.fates.push(fate(Kind::Idle, 98, End::Reset, killed.died));
        assert_eq!(
            killed.judge().verdict,
            Verdict::Broken("1 connections broke".into()),
            "nothing excuses that"
        );
    }

    #[test]
    fn without_a_death_no_new_connection_may_fail() {
        let mut run = seen(Mode::Edgelb, 3, kept);
        run.fates.push(fate(Kind::ConnectRough, 99, End::Reset, run.died));
        assert_eq!(run.judge().verdict, Verdict::Broken("1 new connections failed".into()));
        run.fates.extend((100..200).map(|port| fate(Kind::Connect, port, End::Kept, run.died)));
        run.may_fail = 0.01;
        assert_eq!((run.judge().may_be_refused, run.judge().verdict), (1, Verdict::Held));
        run.fates.push(fate(Kind::ConnectRough, 99, End::Reset, run.died));
        assert!(matches!(run.judge().verdict, Verdict::Broken(_)));
    }
}
