//! Explanations of packets of each kind.

use lb_common::verdict::DropReason;
use serde_json::json;

use super::*;

fn place(name: &str, id: u16, has_connection: Option<bool>) -> Place {
    let here = id == 1;
    Place {
        name: name.to_owned(),
        id,
        address: Some(IpAddr::from([198, 51, 100, id as u8])),
        interface: (!here).then(|| "eth0".to_owned()),
        here,
        state: (!here).then(|| "up".to_owned()),
        words: None,
        has_connection,
    }
}

fn sent(then: &[&str]) -> SentTo {
    SentTo {
        to: "edge-2".to_owned(),
        then: then.iter().map(|&name| name.to_owned()).collect(),
        place: 1,
        direction: "from_opener",
        interface: Some("eth0".to_owned()),
        next_hop: "02:00:00:00:00:01".to_owned(),
        outer_source: SocketAddr::from(([198, 51, 100, 1], 53_812)),
        outer_destination: SocketAddr::from(([198, 51, 100, 2], 6080)),
        bytes: 88,
        tag_ok: true,
    }
}

/// Of a packet for the port of a Service, at edge-1.
fn explanation(packet: Kind, verdict: Verdict, row: Vec<Place>) -> Explanation {
    let from = SocketAddr::from(([192, 0, 2, 9], 40_000));
    let to = SocketAddr::from(([203, 0, 113, 10], 80));
    let flow = FlowFound {
        table: 0,
        bucket: 17,
        other_bucket: None,
        flow_key: None,
        other_flow_key: None,
        buckets: 65_537,
        generation: 3,
        digest: "00000000000000ff".to_owned(),
        row,
    };
    Explanation {
        node: Some("edge-1".to_owned()),
        vip: true,
        service: Some(ServiceFound { object: Some("Service edge/vip".to_owned()), has_listener: true }),
        flow: Some(flow),
        same_program: Some(true),
        interfaces: vec!["eth0".to_owned()],
        ..Explanation::new(from, to, packet, verdict)
    }
}

#[track_caller]
fn check(explanation: Explanation, outcome: Outcome, owner: Option<&str>, words: &[&str]) {
    let explanation = explanation.concluded();
    assert_eq!((explanation.outcome, explanation.owner.as_deref()), (outcome, owner));
    let text = explanation.to_string();
    for words in words {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
}

#[test]
fn a_packet_for_another_member() {
    let alone = Explanation {
        sent: Some(sent(&[])),
        ..explanation(Kind::TcpSegment, Verdict::Sent, vec![place("edge-2", 2, None)])
    };
    let words = [
        "192.0.2.9:40000 -> 203.0.113.10:80, as it comes in at edge-1 on eth0",
        "service   Service edge/vip, port 80; the proxy answers",
        "row       1. edge-2 (198.51.100.2): new flows open here; it answers; whether it has this connection: unknown",
        "UDP 198.51.100.1:53812 -> 198.51.100.2:6080, 88 bytes, by eth0 to 02:00:00:00:00:01; tag right",
        "so        edge-2 gets it, and delivers it",
    ];
    check(alone, Outcome::Sent, Some("edge-2"), &words);
    let row = vec![place("edge-2", 2, None), place("edge-1", 1, Some(false))];
    let asked =
        Explanation { sent: Some(sent(&["edge-1"])), ..explanation(Kind::TcpSegment, Verdict::Sent, row) };
    let words =
        ["2. edge-1 (this node): may have flows that opened before; it does not have this connection"];
    let words = [&words[..], &["else it goes on to edge-1"]].concat();
    check(asked.clone(), Outcome::Sent, Some("edge-2"), &words);
    check(Explanation { packet: Kind::TcpSyn, ..asked.clone() }, Outcome::Sent, None, &[]);
    let said = |id, has_connection| Asked { name: format!("edge-{id}"), id, has_connection };
    let told = Explanation {
        asked: vec![said(2, Some(false)), said(3, Some(true)), said(4, None)],
        ..asked.clone()
    };
    let words = [
        "asked     edge-2 does not have it",
        "edge-3 has this connection",
        "edge-4: no answer",
        "1. edge-2 (198.51.100.2): new flows open here; it answers; it does not have this connection",
    ];
    check(told, Outcome::Sent, Some("edge-3"), &words);
    let further = Explanation { sent: Some(sent(&["edge-1", "edge-3"])), ..asked };
    check(further, Outcome::Sent, None, &["else it goes on to edge-1, then edge-3"]);
}

#[test]
fn a_packet_while_two_flow_keys_are_in_force() {
    let row = vec![place("edge-2", 2, None), place("edge-3", 3, None)];
    let mut by_two = explanation(Kind::TcpSegment, Verdict::Sent, row);
    by_two.flow.iter_mut().for_each(|flow| flow.other_bucket = Some(99));
    let words = [
        "bucket    17 of 65537, and 99 by another flow key, for two are in force, in table 0",
        "2. edge-3 (198.51.100.3): may have flows that opened before, or by the other flow key",
    ];
    check(Explanation { sent: Some(sent(&["edge-3"])), ..by_two.clone() }, Outcome::Sent, None, &words);
    by_two.flow.iter_mut().for_each(|flow| {
        (flow.flow_key, flow.other_flow_key) = (Some("0000000b".to_owned()), Some("0000000a".to_owned()));
    });
    let words =
        ["bucket    17 of 65537 by flow key 0000000b, and 99 by flow key 0000000a, for two are in force"];
    check(Explanation { sent: Some(sent(&["edge-3"])), ..by_two.clone() }, Outcome::Sent, None, &words);
    let found = serde_json::to_value(by_two).expect("it is JSON");
    assert_eq!(found.pointer("/flow/other_bucket"), Some(&json!(99)));
}

#[test]
fn a_packet_for_this_node() {
    let of = |kind, has| explanation(kind, Verdict::DeliveredFirstHop, vec![place("edge-1", 1, Some(has))]);
    check(of(Kind::TcpSegment, true), Outcome::Delivered, Some("edge-1"), &["a socket of this node gets it"]);
    check(of(Kind::TcpSyn, false), Outcome::Delivered, Some("edge-1"), &[]);
    check(of(Kind::TcpSegment, false), Outcome::Refused, None, &["knows no such connection"]);
    let row = || vec![place("edge-2", 2, None), place("edge-1", 1, Some(true))];
    let found = explanation(Kind::TcpSegment, Verdict::FoundSecond, row());
    check(
        found,
        Outcome::Delivered,
        Some("edge-1"),
        &["verdict   found_second: this node has the connection"],
    );
}

#[test]
fn a_packet_for_this_node_while_its_agent_is_silent() {
    let to_another = SentTo { interface: None, ..sent(&[]) };
    let stood_in = Explanation {
        sent: Some(to_another),
        ..explanation(Kind::TcpSyn, Verdict::Sent, vec![place("edge-1", 1, Some(false))])
    };
    let words = [
        "1. edge-1 (this node): opens flows while its agent gives signs of life; as it does not, they open elsewhere",
        "sent      to edge-2, encapsulated: UDP 198.51.100.1:53812 -> 198.51.100.2:6080, 88 bytes, to 02:00",
        "so        edge-2 gets it, and delivers it",
    ];
    check(stood_in, Outcome::Sent, Some("edge-2"), &words);
}

#[test]
fn a_packet_that_nobody_takes() {
    let lost = explanation(Kind::TcpSyn, DropReason::NoNextHop.into(), vec![place("edge-2", 2, None)]);
    check(lost, Outcome::Dropped, None, &["verdict   no_next_hop: The next hop towards the member has no"]);
    let nothing = |verdict, vip| Explanation {
        vip,
        service: None,
        flow: None,
        ..explanation(Kind::UdpDatagram, verdict, vec![])
    };
    check(
        nothing(Verdict::NoService, true),
        Outcome::Refused,
        None,
        &["no Service names port 80", "unreachable"],
    );
    check(nothing(Verdict::NotForVip, false), Outcome::Left, None, &["is not a VIP", "leaves it alone"]);
}

#[test]
fn a_node_that_is_alone_contradicts_itself_nowhere() {
    // As a node says it that judges nobody.
    let silent = "edge-2 is silent since 3 s";
    let place = Place {
        interface: None,
        state: Some("down".to_owned()),
        words: Some(silent.to_owned()),
        ..place("edge-2", 2, None)
    };
    let alone = Explanation {
        alone: true,
        down: vec![silent.to_owned()],
        ..explanation(Kind::TcpSyn, DropReason::NoNextHop.into(), vec![place])
    };
    let text = alone.concluded().to_string();
    for words in [
        "1. edge-2 (198.51.100.2): new flows would open here; no way there is known; edge-2 is silent since 3 s; whether",
        "alone     no member answers, and this node's own link",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    assert!(!text.contains("no new flows") && !text.contains("new flows open here"), "{text}");
}

#[test]
fn names_of_the_json_are_stable() {
    let explanation = Explanation {
        sent: Some(sent(&[])),
        ..explanation(Kind::TcpSyn, Verdict::Sent, vec![place("edge-2", 2, None)])
    };
    let found = serde_json::to_value(explanation.concluded()).expect("it is JSON");
    for (pointer, value) in [
        ("/packet", json!("tcp_syn")),
        ("/vip", json!(true)),
        ("/service/object", json!("Service edge/vip")),
        ("/flow/bucket", json!(17)),
        ("/flow/other_bucket", json!(null)),
        ("/flow/row/0/name", json!("edge-2")),
        ("/flow/row/0/has_connection", json!(null)),
        ("/verdict", json!("sent")),
        ("/outcome", json!("sent")),
        ("/owner", json!("edge-2")),
        ("/sent/outer_destination", json!("198.51.100.2:6080")),
        ("/sent/tag_ok", json!(true)),
        ("/agent_silent", json!(null)),
    ] {
        assert_eq!(found.pointer(pointer), Some(&value), "{pointer} in {found}");
    }
}
