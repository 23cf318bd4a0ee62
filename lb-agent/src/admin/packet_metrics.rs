//! Metrics of the packet path and of the agent as a whole, read on each scrape.

use std::collections::BTreeMap;
use std::fmt;
use std::time::UNIX_EPOCH;

use lb_common::map::Traffic;
use lb_common::verdict::Verdict;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::Live;
use crate::metrics::{
    AGENT, ALONE, CHANGE_QUEUED, FLOW_KEY_COMES, FLOW_KEY_LACKS, FLOW_KEYS, GENERATION, HALF_OPEN, HELD,
    INTERFACE_MODE, MEMBERS, MEMBERSHIPS, Named, PACKETS, PEER_FLAPS, PEER_LOST, PEER_PROBES,
    PEER_ROUND_TRIP, PEER_STATE, PROBLEMS, SERVICE_BYTES, SERVICE_PACKETS, SOURCE_FAILURES, SOURCE_SINCE,
    SOURCE_STORED, SOURCE_WATCH, STOOD_IN,
};
use crate::model::{Basis, Following, Holdings, Peer, Protocol, ServiceAddress, Severity, Watch};

/// The packet path's counters of one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Packets by verdict.
    pub verdicts: Vec<(Verdict, u64)>,
    /// What this node saw as the first hop, by service.
    pub services: BTreeMap<ServiceAddress, Traffic>,
}

/// Asks the kernel for its counters; `None` if it does not answer, or there is no packet path.
pub type ReadCounters = Box<dyn Fn() -> Option<Counters> + Send + Sync>;

/// Adds the packet path's and the agent's metrics to a registry.
pub fn register(registry: &mut Registry, live: Live, counters: ReadCounters) {
    let info = vec![("version", live.version.to_owned()), ("node", live.node.clone())];
    registry.register(AGENT.0, AGENT.1, Info::new(info));
    registry.register_collector(Box::new(PacketPath { live, counters }));
}

/// Reads on scrape what is kept elsewhere: in the kernel, and in the newest snapshot.
struct PacketPath {
    live: Live,
    counters: ReadCounters,
}

impl fmt::Debug for PacketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketPath").field("live", &self.live).finish_non_exhaustive()
    }
}

impl Collector for PacketPath {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encode_live(&mut encoder, &self.live)?;
        match (self.counters)() {
            Some(counters) => encode_counters(&mut encoder, &counters),
            None => Ok(()),
        }
    }
}

const GAUGE: MetricType = MetricType::Gauge;

fn encode_live(encoder: &mut DescriptorEncoder<'_>, live: &Live) -> fmt::Result {
    let kernel = live.kernel_generation().map(|generation| ([("stage", "kernel")], generation));
    let stages = kernel.into_iter().chain([([("stage", "proxy")], live.proxy_generation())]);
    gauges(encoder, GENERATION, stages)?;
    encode_following(encoder, live)?;
    encode_peers(encoder, live)?;
    encode_memberships(encoder, live)?;
    gauges(
        encoder,
        INTERFACE_MODE,
        live.attachments()
            .iter()
            .map(|found| ([("interface", found.interface.as_str()), ("mode", found.mode.as_str())], 1)),
    )?;
    let Some(snapshot) = live.snapshot() else { return Ok(()) };
    let count = |severity| snapshot.problems.iter().filter(|problem| problem.severity == severity).count();
    gauges(
        encoder,
        PROBLEMS,
        [("error", Severity::Error), ("warning", Severity::Warning)]
            .map(|(label, severity)| ([("severity", label)], count(severity) as u64)),
    )?;
    let members = ConstGauge::new(snapshot.members.len() as u64);
    members.encode(encoder.encode_descriptor(MEMBERS.0, MEMBERS.1, None, GAUGE)?)
}

fn encode_peers(encoder: &mut DescriptorEncoder<'_>, live: &Live) -> fmt::Result {
    if live.peers.is_none() {
        return Ok(());
    }
    let all = live.peers().all;
    let member = |peer: &Peer| [("member", peer.name.clone())];
    let state = |peer: &Peer| [("member", peer.name.clone()), ("state", peer.state.label().to_owned())];
    gauges(encoder, PEER_STATE, all.iter().map(|peer| (state(peer), 1)))?;
    let micros = |peer: &Peer| u64::try_from(peer.round_trip?.as_micros()).ok();
    let answered = all.iter().filter_map(|peer| Some((member(peer), micros(peer)?)));
    gauges(encoder, PEER_ROUND_TRIP, answered)?;
    counters(encoder, PEER_PROBES, all.iter().map(|peer| (member(peer), peer.asked)))?;
    counters(encoder, PEER_LOST, all.iter().map(|peer| (member(peer), peer.lost)))?;
    counters(encoder, PEER_FLAPS, all.iter().map(|peer| (member(peer), peer.flaps)))?;
    for ((name, help), is) in [(ALONE, live.is_alone()), (STOOD_IN, live.is_stood_in())] {
        ConstGauge::new(u64::from(is)).encode(encoder.encode_descriptor(name, help, None, GAUGE)?)?;
    }
    Ok(())
}

fn encode_memberships(encoder: &mut DescriptorEncoder<'_>, live: &Live) -> fmt::Result {
    if live.history.is_none() {
        return Ok(());
    }
    let history = live.history();
    let count = (history.agreed.len() + history.absences.len()) as u64;
    let keys = live.keys();
    let counted = |holdings: Holdings| [(HELD, holdings.held as u64), (HALF_OPEN, holdings.half_open as u64)];
    let held = live.holdings().map(counted).into_iter().flatten();
    let all = [
        (MEMBERSHIPS, count),
        (CHANGE_QUEUED, u64::from(history.queued.is_some())),
        (FLOW_KEY_COMES, u64::from(keys.coming().is_some())),
        (FLOW_KEYS, keys.keys.map_or(0, |keys| 1 + u64::from(keys.other.is_some()))),
        (FLOW_KEY_LACKS, u64::from(keys.lacks.is_some())),
    ];
    for ((name, help), value) in all.into_iter().chain(held) {
        ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, GAUGE)?)?;
    }
    Ok(())
}

fn encode_following(encoder: &mut DescriptorEncoder<'_>, live: &Live) -> fmt::Result {
    let Some(Following { basis, watches, .. }) = live.following() else { return Ok(()) };
    let is_stored = ConstGauge::new(u64::from(matches!(basis, Basis::Stored(_))));
    is_stored.encode(encoder.encode_descriptor(SOURCE_STORED.0, SOURCE_STORED.1, None, GAUGE)?)?;
    let condition = |watch: &Watch| [("kind", watch.name), ("condition", watch.condition.label())];
    gauges(encoder, SOURCE_WATCH, watches.iter().map(|watch| (condition(watch), 1)))?;
    let since = |watch: &Watch| watch.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    gauges(encoder, SOURCE_SINCE, watches.iter().map(|watch| ([("kind", watch.name)], since(watch))))?;
    counters(encoder, SOURCE_FAILURES, watches.iter().map(|watch| ([("kind", watch.name)], watch.failures)))
}

fn encode_counters(encoder: &mut DescriptorEncoder<'_>, found: &Counters) -> fmt::Result {
    counters(
        encoder,
        PACKETS,
        found.verdicts.iter().map(|(verdict, packets)| ([("verdict", verdict.label())], *packets)),
    )?;
    counters(
        encoder,
        SERVICE_PACKETS,
        found.services.iter().map(|(address, traffic)| (labels(address), traffic.packets)),
    )?;
    counters(
        encoder,
        SERVICE_BYTES,
        found.services.iter().map(|(address, traffic)| (labels(address), traffic.bytes)),
    )
}

fn labels(address: &ServiceAddress) -> [(&'static str, String); 3] {
    let protocol = match address.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    [("vip", address.vip.to_string()), ("port", address.port.to_string()), ("protocol", protocol.to_owned())]
}

fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): Named,
    values: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): Named,
    values: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, GAUGE)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lb_common::verdict::DropReason;
    use prometheus_client::encoding::text::encode;

    use super::super::dump::tests::snapshot;
    use super::super::live::tests::{following, live, peer};
    use super::*;
    use std::sync::Arc;

    use crate::model::{Condition, Generation, History, PeerState, Peers, Step};

    fn scrape(live: Live, counters: Option<Counters>) -> String {
        let mut registry = Registry::default();
        register(&mut registry, live, Box::new(move || counters.clone()));
        let mut text = String::new();
        encode(&mut text, &registry).expect("text takes everything");
        text
    }

    fn check(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_scrape_has_what_is_seen_of_other_members() {
        let peers = Peers { all: vec![peer(PeerState::Down)], stuck: None };
        let live = Live {
            peers: Some(tokio::sync::watch::Sender::new(peers).subscribe()),
            ..live(Some(1), 1, None)
        };
        check(
            &scrape(live, None),
            &[
                r#"lb_l4_peer_state{member="edge-2",state="down"} 1"#,
                r#"lb_l4_peer_round_trip_microseconds{member="edge-2"} 250"#,
                r#"lb_l4_peer_probes_total{member="edge-2"} 40"#,
                r#"lb_l4_peer_lost_probes_total{member="edge-2"} 4"#,
                r#"lb_l4_peer_flaps_total{member="edge-2"} 1"#,
                "lb_l4_alone 0",
                "lb_l4_stood_in 0",
            ],
        );
    }

    #[test]
    fn a_scrape_has_what_rows_are_made_of() {
        let generation =
            |number| Arc::new(Generation { number, step: Step::Settled, ..Generation::default() });
        let queued = Some("change 3 queued (edge-4 joins): edge-2 holds flows of membership 1".to_owned());
        let history = History { agreed: vec![generation(1), generation(2)], queued, ..History::default() };
        let holdings = Some(Holdings { held: 3, half_open: 8192, ..Holdings::default() });
        let live = Live {
            history: Some(tokio::sync::watch::Sender::new(history).subscribe()),
            holdings: Some(tokio::sync::watch::Sender::new(holdings).subscribe()),
            ..live(Some(1), 1, None)
        };
        assert!(
            live.ready().ends_with("; change 3 queued (edge-4 joins): edge-2 holds flows of membership 1"),
            "{}",
            live.ready()
        );
        let lines = [
            "lb_l4_memberships 2",
            "lb_l4_change_queued 1",
            "lb_l4_connections 3",
            "lb_l4_half_open_connections 8192",
        ];
        check(&scrape(live, None), &lines);
    }

    #[test]
    fn a_scrape_has_the_kernels_counters() {
        let counters = Counters {
            verdicts: vec![(Verdict::Sent, 41), (Verdict::Drop(DropReason::BadTag), 2)],
            services: snapshot()
                .services
                .into_keys()
                .map(|key| (key, Traffic { packets: 5, bytes: 300 }))
                .collect(),
        };
        check(
            &scrape(live(Some(7), 6, Some(snapshot())), Some(counters)),
            &[
                r#"lb_l4_packets_total{verdict="sent"} 41"#,
                r#"lb_l4_packets_total{verdict="bad_tag"} 2"#,
                r#"lb_l4_service_packets_total{vip="192.0.2.10",port="80",protocol="tcp"} 5"#,
                r#"lb_l4_service_bytes_total{vip="192.0.2.10",port="80",protocol="tcp"} 300"#,
            ],
        );
    }

    #[test]
    fn a_scrape_has_the_agents_state() {
        check(
            &scrape(live(Some(7), 6, Some(snapshot())), None),
            &[
                r#"lb_agent_info{version="0.1.0",node="edge-1"} 1"#,
                r#"lb_agent_generation{stage="kernel"} 7"#,
                r#"lb_agent_generation{stage="proxy"} 6"#,
                r#"lb_agent_problems{severity="error"} 0"#,
                r#"lb_agent_problems{severity="warning"} 1"#,
                r#"lb_l4_interface_mode{interface="eth0",mode="generic"} 1"#,
                "lb_l4_members 1",
            ],
        );
    }

    #[test]
    fn a_scrape_tells_how_the_cluster_is_followed() {
        check(
            &scrape(following(Basis::Cluster, Condition::Forbidden), None),
            &[
                "lb_source_stored 0",
                r#"lb_source_watch{kind="Ingress",condition="forbidden"} 1"#,
                r#"lb_source_watch_since_seconds{kind="Ingress"} 1800000000"#,
                r#"lb_source_watch_failures_total{kind="Ingress"} 3"#,
            ],
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let text = scrape(live(None, 0, None), None);
        check(&text, &[r#"lb_agent_generation{stage="proxy"} 0"#, "# EOF"]);
        for absent in ["lb_source", "lb_l4_packets", "lb_agent_problems", "lb_l4_members", "kernel"] {
            assert!(!text.contains(absent), "{absent} in\n{text}");
        }
    }
}
