//! What `top` shows, of what an agent said at two moments.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_common::verdict::Verdict;
use serde::Serialize;

use super::series::Series;
use crate::admin::FlowKeysReport;
use crate::admin::{MemberOverview, Membership, Overview};
use crate::metrics::{PACKETS, SERVICE_BYTES, SERVICE_PACKETS};

/// What an agent said at one moment.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) overview: Overview,
    pub(super) series: Series,
}

/// A node of one moment, with figures of the time before it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figures {
    /// The node.
    pub node: String,
    /// What keeps it from being ready.
    pub not_ready: Vec<String>,
    /// How its drain goes.
    pub drain: String,
    /// Whether no member answers, for this node's own fault.
    pub alone: bool,
    /// Whether others open its flows, for its agent was silent.
    pub stood_in: bool,
    /// Open connections to VIPs on it; `None` without a packet path.
    pub flows: Option<u64>,
    /// Those that are half open come on top; `None` while they are not known.
    pub half_open: Option<u64>,
    /// The age of the oldest, in seconds.
    pub oldest: Option<u64>,
    /// Its flow keys.
    pub flow_keys: FlowKeysReport,
    /// Memberships whose members may own flows, the oldest first.
    pub memberships: Vec<Membership>,
    /// The change that waits, and for what.
    pub queued: Option<String>,
    /// All members of them.
    pub members: Vec<MemberOverview>,
    /// What happened to packets that were not lost.
    pub packets: Vec<Rate>,
    /// Those that were, by reason.
    pub drops: Vec<Rate>,
    /// Packets for which this node was the first hop.
    pub services: Vec<ServiceRate>,
}

/// Something that is counted.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Rate {
    /// Its label.
    pub name: &'static str,
    /// Since it was counted first.
    pub total: u64,
    /// Of now.
    pub per_second: f64,
}

/// What comes for a service.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ServiceRate {
    /// Its address.
    pub address: String,
    /// The object that names it.
    pub object: String,
    /// Packets since it was counted first.
    pub packets: u64,
    /// Packets of now.
    pub packets_per_second: f64,
    /// Bytes of now.
    pub bytes_per_second: f64,
}

impl Figures {
    /// Of `now`, where `time` has passed since `before`.
    pub(super) fn new(before: &Sample, now: &Sample, time: Duration) -> Self {
        let overview = now.overview.clone();
        let packets = |verdict: Verdict| {
            let labels = [("verdict", verdict.label())];
            let total = |sample: &Sample| sample.series.count(PACKETS.0, &labels);
            let per_second = rate(total(before), total(now), time);
            Rate { name: verdict.label(), total: total(now), per_second }
        };
        let (drops, kept): (Vec<_>, Vec<_>) =
            Verdict::all().partition(|verdict| matches!(verdict, Verdict::Drop(_)));
        Self {
            services: services(before, now, time),
            packets: kept.into_iter().map(packets).collect(),
            drops: drops.into_iter().map(packets).filter(|rate| rate.total > 0).collect(),
            node: overview.node,
            not_ready: overview.not_ready,
            drain: overview.drain.words,
            alone: overview.alone,
            stood_in: overview.stood_in,
            flows: overview.held,
            half_open: overview.half_open,
            oldest: overview.oldest,
            flow_keys: overview.flow_keys,
            memberships: overview.memberships,
            queued: overview.queued,
            members: overview.members,
        }
    }

    /// What is counted under a verdict.
    #[must_use]
    pub fn of(&self, verdict: Verdict) -> Option<&Rate> {
        self.packets.iter().chain(&self.drops).find(|rate| rate.name == verdict.label())
    }
}

/// The busiest first.
fn services(before: &Sample, now: &Sample, time: Duration) -> Vec<ServiceRate> {
    let name = |address: &str, object: &str| (address.to_owned(), object.to_owned());
    let named: BTreeMap<_, _> = now.overview.services.iter().map(|(a, o)| name(a, o)).collect();
    let of = |(address, object): (String, String)| {
        let count = |sample: &Sample, metric| match labels(&address) {
            Some([vip, port, protocol]) => {
                let labels = [("vip", &*vip), ("port", &*port), ("protocol", &*protocol)];
                sample.series.count(metric, &labels)
            }
            None => 0,
        };
        let per_second = |metric| rate(count(before, metric), count(now, metric), time);
        ServiceRate {
            packets: count(now, SERVICE_PACKETS.0),
            packets_per_second: per_second(SERVICE_PACKETS.0),
            bytes_per_second: per_second(SERVICE_BYTES.0),
            address,
            object,
        }
    };
    let mut services: Vec<_> = named.into_iter().map(of).collect();
    services.sort_by(|one, other| other.packets_per_second.total_cmp(&one.packets_per_second));
    services
}

/// `[2001:db8::1]:443/tcp` as metrics spell it.
fn labels(address: &str) -> Option<[String; 3]> {
    let (address, protocol) = address.rsplit_once('/')?;
    let (vip, port) = address.rsplit_once(':')?;
    Some([vip.trim_matches(['[', ']']).to_owned(), port.to_owned(), protocol.to_owned()])
}

/// Counters begin again where the packet path is made again.
fn rate(before: u64, now: u64, time: Duration) -> f64 {
    now.saturating_sub(before) as f64 / time.as_secs_f64().max(0.001)
}
