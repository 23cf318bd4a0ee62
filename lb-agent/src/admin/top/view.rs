//! The figures as lines of text.

use std::fmt;

use lb_common::verdict::Verdict;

use super::figures::{Figures, Rate};
use crate::admin::MemberOverview;

/// Where flows that might be at several members were found, in words.
const HOPS: [(Verdict, &str); 6] = [
    (Verdict::FoundFirst, "found first"),
    (Verdict::FoundSecond, "found second"),
    (Verdict::FoundThird, "found third"),
    (Verdict::FoundNowhere, "found nowhere"),
    (Verdict::Opened, "opened"),
    (Verdict::PassedOn, "passed on"),
];

/// What happened to packets of flows that can only be at one member.
const WAYS: [(Verdict, &str); 3] = [
    (Verdict::DeliveredFirstHop, "delivered here at once"),
    (Verdict::DeliveredMember, "delivered for another node"),
    (Verdict::Sent, "sent to another node"),
];

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        for words in self.queued.iter().chain(&self.flow_keys.words) {
            writeln!(f, "{words}")?;
        }
        writeln!(f, "\n{:<20} {:<18} {:<12} {:>9} {:>8}", "MEMBER", "ADDRESS", "STATE", "RTT", "WEIGHT")?;
        for member in &self.members {
            writeln!(f, "{}", member_line(member))?;
        }
        writeln!(f, "\n{:<30} {:>12} {:>12}", "PACKETS", "A SECOND", "IN ALL")?;
        for (verdict, words) in WAYS.into_iter().chain(HOPS) {
            if let Some(rate) = self.of(verdict) {
                writeln!(f, "{}", rate_line(words, rate))?;
            }
        }
        writeln!(f, "\n{:<30} {:>12} {:>12}", "DROPS", "A SECOND", "IN ALL")?;
        for rate in &self.drops {
            writeln!(f, "{}", rate_line(rate.name, rate))?;
        }
        if self.drops.is_empty() {
            writeln!(f, "none")?;
        }
        writeln!(f, "\n{:<30} {:>12} {:>12}  OBJECT", "SERVICE", "PACKETS/S", "KBIT/S")?;
        for service in &self.services {
            let kilobits = service.bytes_per_second * 8.0 / 1000.0;
            let (address, packets) = (&service.address, service.packets_per_second);
            writeln!(f, "{address:<30} {packets:>12.0} {kilobits:>12.0}  {}", service.object)?;
        }
        Ok(())
    }
}

impl Figures {
    fn headline(&self) -> String {
        let ready = if self.not_ready.is_empty() { "ready" } else { "not ready" };
        let flows = match (self.flows, self.oldest) {
            (Some(flows), Some(oldest)) => format!("; {flows} connections, the oldest {oldest} s"),
            (Some(flows), None) => format!("; {flows} connections"),
            (None, _) => String::new(),
        };
        let half_open = self.half_open.filter(|&half_open| half_open > 0);
        let half_open = half_open.map(|half_open| format!("; {half_open} half open")).unwrap_or_default();
        let drain = if self.drain == "not draining" { String::new() } else { format!("; {}", self.drain) };
        let alone = if self.alone {
            "; ALONE: no member answers, and its own link, routes or gateway are to blame"
        } else {
            ""
        };
        let stood_in = if self.stood_in { "; its agent was silent: others open its flows" } else { "" };
        let steps = self.memberships.iter().filter(|membership| membership.number > 0);
        let steps: String =
            steps.map(|found| format!("; membership {} ({})", found.number, found.step)).collect();
        format!("{}: {ready}{flows}{half_open}{steps}{drain}{alone}{stood_in}", self.node)
    }
}

fn member_line(member: &MemberOverview) -> String {
    let round_trip = member.round_trip_microseconds;
    let round_trip =
        round_trip.map_or_else(String::new, |micros| format!("{:.2} ms", micros as f64 / 1000.0));
    let MemberOverview { name, address, standing, weight, .. } = member;
    let here = if member.state == "this node" { " (here)" } else { "" };
    let (name, address) = (format!("{name}{here}"), address.to_string());
    format!("{name:<20} {address:<18} {standing:<12} {round_trip:>9} {weight:>8}")
}

fn rate_line(name: &str, rate: &Rate) -> String {
    format!("{name:<30} {:>12.0} {:>12}", rate.per_second, rate.total)
}
