//! Figures of two looks, and an agent that is away between them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::verdict::{DropReason, Verdict};

use super::super::{MemberOverview, Overview};
use super::*;
use crate::admin::DrainReport;
use crate::admin::FlowKeysReport;
use crate::metrics::{PACKETS, SERVICE_PACKETS};

fn sample(sent: u64, lost: u64, packets: u64) -> Sample {
    let drain = DrainReport {
        draining: false,
        node_says: None,
        complete: false,
        words: "not draining".to_owned(),
        opens_here: true,
        followed: false,
        deadline: None,
        connections: BTreeMap::new(),
        oldest: None,
    };
    let member = MemberOverview {
        name: "edge-2".to_owned(),
        id: 2,
        address: IpAddr::from([198, 51, 100, 2]),
        weight: 0,
        standing: "draining".to_owned(),
        state: "up".to_owned(),
        words: "edge-2 answers".to_owned(),
        round_trip_microseconds: Some(250),
        lost: 0,
    };
    let overview = Overview {
        node: "edge-1".to_owned(),
        version: "0.1.0".to_owned(),
        not_ready: Vec::new(),
        drain,
        alone: false,
        stood_in: true,
        held: Some(3),
        half_open: Some(8202),
        queued: Some("change 9 queued (edge-4 joins): edge-2 holds flows of membership 7".to_owned()),
        oldest: Some(240),
        flow_keys: FlowKeysReport {
            words: Some("flow key 0000000b waits".to_owned()),
            ..FlowKeysReport::default()
        },
        memberships: Vec::new(),
        members: vec![member],
        services: BTreeMap::from([
            ("203.0.113.10:80/tcp".to_owned(), "Service edge/quiet".to_owned()),
            ("[2001:db8::1]:443/tcp".to_owned(), "Service edge/busy".to_owned()),
        ]),
    };
    let text = format!(
        "{0}_total{{verdict=\"sent\"}} {sent}\n{0}_total{{verdict=\"too_big\"}} {lost}\n\
         {1}_total{{vip=\"2001:db8::1\",port=\"443\",protocol=\"tcp\"}} {packets}\n",
        PACKETS.0, SERVICE_PACKETS.0
    );
    Sample { overview, series: Series::read(&text) }
}

#[test]
fn figures_are_of_the_time_between_two_looks() {
    let figures = Figures::new(&sample(10, 0, 100), &sample(30, 4, 300), Duration::from_secs(2));
    let rate = |verdict: Verdict| figures.of(verdict).map(|rate| (rate.total, rate.per_second));
    assert_eq!(rate(Verdict::Sent), Some((30, 10.0)));
    assert_eq!(rate(DropReason::TooBig.into()), Some((4, 2.0)));
    assert_eq!(rate(DropReason::BadTag.into()), None, "what never happened is not shown");
    let busiest = &figures.services[0];
    assert_eq!((busiest.object.as_str(), busiest.packets_per_second), ("Service edge/busy", 100.0));
    let text = figures.to_string();
    for words in [
        "edge-1: ready; 3 connections, the oldest 240 s; 8202 half open; its agent was silent: others open its flows\nchange 9 queued (edge-4 joins)",
        "edge-2               198.51.100.2       draining       0.25 ms        0",
        "sent to another node                     10           30",
        "too_big                                   2            4",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
}

#[test]
fn counters_that_begin_again_are_no_rate() {
    let figures = Figures::new(&sample(100, 0, 0), &sample(3, 0, 0), Duration::from_secs(1));
    assert_eq!(figures.of(Verdict::Sent).map(|rate| rate.per_second), Some(0.0));
}

#[test]
fn an_agent_that_is_away_is_waited_for() {
    let error = || AdminError::Timeout { path: "/run/edgelb/admin.sock".into(), timeout: PERIOD };
    let (mut shown, start) = (Shown::default(), Instant::now());
    assert!(shown.next(Err(error()), start).contains("did not answer within 1s: waiting for it"));
    assert!(shown.next(Ok(sample(1, 0, 0)), start).starts_with("edge-1: ready"));
    let text = shown.next(Err(error()), start + 5 * PERIOD);
    assert!(text.contains("of 5 s ago:") && text.contains("edge-1: ready"), "{text}");
    assert!(shown.next(Ok(sample(7, 0, 0)), start + 6 * PERIOD).contains("sent to another node"));
}
