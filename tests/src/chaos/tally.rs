//! Packets by verdict over a whole event, though nodes' counters may begin anew meanwhile: pure.

use std::collections::BTreeMap;

use lb_common::verdict::Verdict;

/// Packets of a node by verdict.
pub type Counters = BTreeMap<String, u64>;

/// What was counted, and where counters stood.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    last: BTreeMap<String, Counters>,
    sums: Counters,
}

impl Tally {
    /// Takes what nodes say now. What a node had counted before it was asked for the first time does not count.
    pub fn count(&mut self, now: BTreeMap<String, Counters>) {
        for (node, now) in now {
            if let Some(last) = self.last.get(&node) {
                for (verdict, &count) in &now {
                    let last = last.get(verdict).copied().unwrap_or_default();
                    // Less than before: the node was wiped, or its maps were laid out anew.
                    let more = count.checked_sub(last).unwrap_or(count);
                    *self.sums.entry(verdict.clone()).or_default() += more;
                }
            }
            self.last.insert(node, now);
        }
    }

    /// All that were counted, by verdict.
    #[must_use]
    pub fn sums(&self) -> Counters {
        self.sums
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(label, count)| (label.clone(), *count))
            .collect()
    }
}

/// Reads an agent's metrics; whatever verdicts there are.
#[must_use]
pub fn counters(metrics: &str) -> Counters {
    metrics.lines().filter_map(verdict).map(|(label, count)| (label.to_owned(), count)).collect()
}

fn verdict(line: &str) -> Option<(&str, u64)> {
    let (label, value) = line.strip_prefix("lb_l4_packets_total{verdict=\"")?.split_once("\"} ")?;
    // Not for a VIP, so no part of what is measured.
    (label != Verdict::NotForVip.label()).then_some((label, value.parse::<f64>().ok()? as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_whatever_they_are_called() {
        assert_eq!(verdict("lb_l4_packets_total{verdict=\"sent\"} 12"), Some(("sent", 12)));
        assert_eq!(verdict("lb_l4_packets_total{verdict=\"held_third\"} 3"), Some(("held_third", 3)));
        assert_eq!(verdict("lb_l4_packets_total{verdict=\"not_for_vip\"} 3"), None);
        assert_eq!(verdict("lb_l4_bytes_total{verdict=\"sent\"} 3"), None);
    }

    #[test]
    fn counters_that_begin_anew_count_from_nothing() {
        let at =
            |node: &str, sent| BTreeMap::from([(node.to_owned(), Counters::from([("sent".into(), sent)]))]);
        let mut tally = Tally::default();
        tally.count(at("edge-1", 5));
        assert!(tally.sums().is_empty());
        tally.count(at("edge-1", 9));
        // A node that is asked for the first time.
        tally.count(at("edge-2", 7));
        tally.count(at("edge-1", 3));
        tally.count(at("edge-2", 8));
        assert_eq!(tally.sums(), Counters::from([("sent".into(), 4 + 3 + 1)]));
    }
}
