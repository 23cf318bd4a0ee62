//! What the leader has seen of the agents' Leases, and when by its own clock. Pure.
//!
//! Clocks of two machines are never compared: a Lease is judged by how long ago this process saw it change.
//! An outage of the API server looks as if all agents had died, so silence counts only while others are heard.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::lease::NodeLease;

/// Whether an agent lives, as far as can be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Liveness {
    /// It was seen to renew its Lease within a period.
    Alive,
    /// Its Lease was found, or nothing could be heard for a while: it has a period from then on.
    Unproven,
    /// It could have been heard, and was not for a period.
    Silent,
}

/// The agents' Leases by node.
#[derive(Clone, Debug)]
pub(super) struct Agents {
    seen: BTreeMap<String, Seen>,
    /// What an agent without a readable Lease is given.
    period: Duration,
    /// Since when the leader can hear them without a break.
    since: Instant,
    /// When the last renewal of anyone was seen.
    heard: Instant,
}

#[derive(Clone, Debug)]
struct Seen {
    lease: NodeLease,
    /// When it was last seen to change.
    at: Instant,
    /// Whether it was seen to change since the leader can hear it.
    has_renewed: bool,
}

impl Agents {
    /// Nobody is known. `period` is how long Leases last.
    pub(super) fn new(period: Duration, now: Instant) -> Self {
        Self { seen: BTreeMap::new(), period, since: now, heard: now }
    }

    /// The leader hears the agents (again): these are the Leases that it found.
    pub(super) fn reset(&mut self, leases: impl IntoIterator<Item = NodeLease>, now: Instant) {
        self.begin_anew(now);
        for lease in leases {
            self.seen.insert(lease.node.clone(), Seen { lease, at: now, has_renewed: false });
        }
    }

    /// A Lease was written.
    pub(super) fn apply(&mut self, lease: NodeLease, now: Instant) {
        let is_renewal = self
            .seen
            .get(&lease.node)
            .is_none_or(|seen| (&seen.lease.holder, seen.lease.renewal) != (&lease.holder, lease.renewal));
        if is_renewal {
            // Whoever comes first after a silence of all says nothing of the others.
            if now.saturating_duration_since(self.heard) > self.period / 2 {
                self.begin_anew(now);
            }
            self.heard = now;
            self.seen.insert(lease.node.clone(), Seen { lease, at: now, has_renewed: true });
        } else if let Some(seen) = self.seen.get_mut(&lease.node) {
            seen.lease = lease;
        }
    }

    fn begin_anew(&mut self, now: Instant) {
        (self.since, self.heard) = (now, now);
        for seen in self.seen.values_mut() {
            seen.has_renewed = false;
        }
    }

    /// The node's Lease. That of an agent that stopped may be long over.
    pub(super) fn lease(&self, node: &str) -> Option<&NodeLease> {
        self.seen.get(node).map(|seen| &seen.lease)
    }

    /// The Leases of agents that are not silent.
    pub(super) fn leases(&self, now: Instant) -> impl Iterator<Item = &NodeLease> {
        let live = move |seen: &&Seen| self.judge(seen, now) != Liveness::Silent;
        self.seen.values().filter(live).map(|seen| &seen.lease)
    }

    /// Those whose kernels forward by what they acknowledge: all wait for them with the next step.
    pub(super) fn live(&self, now: Instant) -> impl Iterator<Item = &NodeLease> {
        self.leases(now).filter(|lease| lease.state.is_live())
    }

    /// Nodes that were silent for so much longer than a Lease lasts.
    pub(super) fn silent_for(&self, time: Duration, now: Instant) -> impl Iterator<Item = &str> {
        let is_old = move |seen: &&Seen| now >= seen.at.max(self.since) + seen.lease.duration + time;
        self.seen.values().filter(is_old).map(|seen| seen.lease.node.as_str())
    }

    /// A Lease is gone, and its agent silent: nobody is waited for any more.
    pub(super) fn forget(&mut self, node: &str, now: Instant) {
        if self.liveness(node, now) == Liveness::Silent {
            self.seen.remove(node);
        }
    }

    /// Whether the node's agent lives. A Lease that was deleted counts as not renewed.
    pub(super) fn liveness(&self, node: &str, now: Instant) -> Liveness {
        match self.seen.get(node) {
            Some(seen) => self.judge(seen, now),
            None if now < self.since + self.period => Liveness::Unproven,
            None => Liveness::Silent,
        }
    }

    fn judge(&self, seen: &Seen, now: Instant) -> Liveness {
        let period = seen.lease.duration;
        if now >= seen.at.max(self.since) + period {
            Liveness::Silent
        } else if seen.has_renewed {
            Liveness::Alive
        } else {
            Liveness::Unproven
        }
    }

    /// Whether anyone is heard: if not, it is the leader that is away.
    pub(super) fn is_in_contact(&self, now: Instant) -> bool {
        self.seen.values().any(|seen| self.judge(seen, now) == Liveness::Alive)
    }

    /// The newest generation that anyone ever had in its kernel, of those up to `most`: a Lease can be edited, too.
    pub(super) fn acknowledged(&self, most: u64) -> u64 {
        let numbers = self.seen.values().map(|seen| seen.lease.acknowledged.number);
        numbers.filter(|number| *number <= most).max().unwrap_or(0)
    }

    /// How long nobody was heard.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::status::AgentState;

    const PERIOD: Duration = Duration::from_secs(12);

    fn lease(node: &str, renewal: i64) -> NodeLease {
        NodeLease {
            renewal: Timestamp::from_second(renewal).ok(),
            ..NodeLease::saying(node, PERIOD, AgentState::Ready)
        }
    }

    /// Two agents, `a` and `b`; each step is (second, renewal of a, renewal of b) as seen by the watch.
    fn after(steps: &[(u64, Option<i64>, Option<i64>)]) -> (Agents, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        let at = move |second| start + Duration::from_secs(second);
        let mut agents = Agents::new(PERIOD, start);
        agents.reset([lease("a", 0), lease("b", 0)], start);
        for &(second, a, b) in steps {
            for (node, renewal) in [("a", a), ("b", b)] {
                if let Some(renewal) = renewal {
                    agents.apply(lease(node, renewal), at(second));
                }
            }
        }
        (agents, at)
    }

    #[test]
    fn found_is_not_alive_yet() {
        let (agents, at) = after(&[]);
        assert_eq!(agents.liveness("a", at(11)), Liveness::Unproven);
        assert_eq!(agents.liveness("a", at(12)), Liveness::Silent);
        assert!(!agents.is_in_contact(at(1)));
        let (agents, at) = after(&[(3, Some(0), Some(-9))]);
        assert_eq!(agents.liveness("a", at(4)), Liveness::Unproven, "the same renewal again is none");
        assert_eq!(agents.liveness("b", at(4)), Liveness::Alive, "a clock set back is no less alive");
    }

    #[test]
    fn who_is_silent_while_others_speak_is_gone() {
        let (agents, at) =
            after(&[(3, Some(3), Some(3)), (6, Some(6), None), (9, Some(9), None), (14, Some(14), None)]);
        assert_eq!(agents.liveness("b", at(14)), Liveness::Alive);
        assert_eq!(agents.liveness("b", at(15)), Liveness::Silent);
        assert!(agents.is_in_contact(at(15)));
    }

    #[test]
    fn who_is_gone_for_long_can_be_forgotten() {
        let (mut agents, at) = after(&[(3, Some(3), Some(3)), (6, Some(6), None), (9, Some(9), None)]);
        let late = |agents: &Agents, second| agents.silent_for(PERIOD, at(second)).count();
        assert_eq!((late(&agents, 26), late(&agents, 27)), (0, 1));
        agents.forget("a", at(15));
        assert!(agents.lease("a").is_some(), "it is no more than a Lease that somebody deleted");
        agents.forget("b", at(15));
        assert!(agents.lease("b").is_none());
    }

    #[test]
    fn after_a_silence_of_all_each_has_a_period() {
        let (agents, at) = after(&[(3, Some(3), Some(3)), (60, Some(60), None)]);
        assert_eq!(agents.liveness("a", at(60)), Liveness::Alive);
        assert_eq!(agents.liveness("b", at(71)), Liveness::Unproven);
        assert_eq!(agents.liveness("b", at(72)), Liveness::Silent);
    }

    #[test]
    fn a_reconnect_gives_a_period_too() {
        let (mut agents, at) = after(&[(3, Some(3), Some(3))]);
        agents.reset([lease("a", 20)], at(20));
        assert_eq!(agents.liveness("a", at(21)), Liveness::Unproven);
        assert_eq!(agents.liveness("b", at(21)), Liveness::Unproven, "a Lease that somebody deleted");
        assert_eq!(agents.liveness("b", at(32)), Liveness::Silent);
        assert_eq!(agents.liveness("never seen", at(21)), Liveness::Unproven);
        assert_eq!(agents.silence(at(25)), Duration::from_secs(5));
    }
}
