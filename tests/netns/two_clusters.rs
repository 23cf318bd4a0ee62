//! Two edgelb clusters on one network that go by one flow key, as where a Secret was copied: neither takes the other's
//! packets, and connections to both live.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_agent::l4::keys::derive;
use lb_common::encap::{Chain, DEFAULT_PORT, Direction, HEADER_LEN, Header, INNER_V4};
use lb_common::hash::{Ports, Tuple, flow_hash};
use lb_common::probe::{Kind, LEN, Message, is_control};
use lb_common::row::{MemberId, NO_MEMBER, Row};
use lb_common::verdict::{DropReason, Verdict};
use lb_tests::lab::address::Addresses;
use lb_tests::lab::capture::Capture;
use lb_tests::lab::manifests::nodes;
use lb_tests::lab::site::{SHOP, Site};
use lb_tests::lab::wait::{eventually, until};
use lb_tests::lab::{HASH_KEY, Lab, Node, run};

use crate::forged::{GUE, Recorded, expect, receiver, recorded};
use crate::liveness::{dump, expect_state};
use crate::membership::{is_alone, rows};
use crate::takeover::Calls;
use crate::{PATIENCE, edges};

/// The nodes of the lab's own site, and those of the second one.
const CLUSTERS: [Range<usize>; 2] = [0..2, 2..4];

/// The second site's VIP.
const OTHER: Addresses = Addresses {
    v4: Ipv4Addr::new(203, 0, 113, 20),
    v6: Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0x20),
};

/// Former memberships have to go first.
const SETTLED: Duration = Duration::from_secs(40);

/// The second cluster was given no number of its own: key, tag and number are right, and the members that a chain names may
/// be known or not. What is left are the VIPs, and who knows whom.
#[test]
fn clusters_of_one_key_and_number_keep_apart() -> Result<()> {
    run("clusters_of_one_key_and_number_keep_apart", &edges(4), |lab| {
        let [first, second] = start(lab, 0)?;
        let mut all = [recorded(lab, lab.vip().v4)?, recorded(lab, OTHER.v4)?];
        let before = at_rest(lab)?;
        foreign(lab, &all, DropReason::NotAVip)?;
        probes(lab, DropReason::NotMyHop)?;
        let [lost, own] = &all;
        for (packet, to, row, reason) in [
            // A flow of the one, in a row of the other.
            (&lost.request, 2, [second[0], 0, 0], DropReason::NotAVip),
            (&own.request, 0, [first[0], 0, 0], DropReason::NotAVip),
            // A flow of its own, in a row of the other.
            (&own.request, 2, [first[0], 0, 0], DropReason::NotMyHop),
            (&lost.request, 0, [second[0], 0, 0], DropReason::NotMyHop),
        ] {
            expect(lab, &lab.edges[to], &tagged(packet, row, &lab.edges[to])?, reason.into())?;
        }
        // It has not got the flow itself, and does not know to whom it would lead on.
        for (recorded, cluster, ids, others) in
            [(lost, &CLUSTERS[0], first, second), (own, &CLUSTERS[1], second, first)]
        {
            let owner = &receiver(lab, &recorded.request)?.name;
            let mut members = lab.edges[cluster.clone()].iter().zip(ids);
            let (node, id) = members.find(|(node, _)| node.name != *owner).context("another member")?;
            let packet = tagged(&recorded.request, [id, others[0], 0], node)?;
            expect(lab, node, &packet, DropReason::UnknownChain.into())?;
        }
        ensure!(taken(lab)? == before, "something was taken: {:?} after {before:?}", taken(lab)?);
        serve(lab, &mut all)
    })
}

#[test]
fn clusters_of_one_key_and_two_numbers_keep_apart() -> Result<()> {
    run("clusters_of_one_key_and_two_numbers_keep_apart", &edges(4), |lab| {
        start(lab, 7)?;
        let mut all = [recorded(lab, lab.vip().v4)?, recorded(lab, OTHER.v4)?];
        let before = at_rest(lab)?;
        foreign(lab, &all, DropReason::WrongCluster)?;
        probes(lab, DropReason::WrongCluster)?;
        ensure!(taken(lab)? == before, "something was taken: {:?} after {before:?}", taken(lab)?);
        serve(lab, &mut all)
    })
}

/// Starts both, the second one by this number; the ids of their members.
fn start(lab: &mut Lab, number: u32) -> Result<[[MemberId; 2]; 2]> {
    Site::publish(lab)?;
    let own = |cluster: Range<usize>| {
        let all: Vec<_> =
            lab.edges[cluster].iter().map(|node| (node.name.as_str(), node.link.host.v4.into())).collect();
        nodes(&all, &[])
    };
    let [first, second] = CLUSTERS.map(own);
    let folder = lab.folder().join("second-cluster");
    fs::create_dir(&folder)?;
    for entry in fs::read_dir(lab.manifests.folder())? {
        let (path, vip) = (entry?.path(), lab.vip());
        let text = fs::read_to_string(&path)?;
        let text = text.replace(&vip.v4.to_string(), &OTHER.v4.to_string());
        let text = text.replace(&vip.v6.to_string(), &OTHER.v6.to_string());
        fs::write(folder.join(path.file_name().context("a manifest")?), text)?;
    }
    fs::write(folder.join("nodes.yaml"), second)?;
    lab.manifests.write("nodes.yaml", &first)?;
    for node in &mut lab.edges[CLUSTERS[1].clone()] {
        node.manifests.clone_from(&folder);
        node.environment.push(("EDGELB_CLUSTER_ID", number.to_string()));
    }
    lab.spread_vip(lab.vip(), &lab.edges[CLUSTERS[0].clone()])?;
    lab.spread_vip(OTHER, &lab.edges[CLUSTERS[1].clone()])?;
    lab.run_agents()?;
    let mut ids = [[NO_MEMBER; 2]; 2];
    for (ids, cluster) in ids.iter_mut().zip(CLUSTERS) {
        *ids = settle(&lab.edges[cluster])?;
    }
    Ok(ids)
}

/// Until rows lead to no other node than that at which flows open; the nodes' ids. Each knows the other one, and nobody else.
fn settle(nodes: &[Node]) -> Result<[MemberId; 2]> {
    let mut ids = [NO_MEMBER; 2];
    for (at, node) in nodes.iter().enumerate() {
        let peer = &nodes[1 - at];
        eventually("it is up", PATIENCE, || expect_state(node, &peer.name, "up"))?;
        until("nobody needs what was before", SETTLED, || rows(node).is_ok_and(|rows| is_alone(&rows)))?;
        let dump = dump(node)?;
        let peers = dump["peers"].as_array().context("peers")?;
        ensure!(peers.len() == 1, "{} knows {peers:?}", node.name);
        ids[1 - at] = peers[0]["id"].as_u64().context("its id")?.try_into()?;
    }
    Ok(ids)
}

/// Sends what went between the members of each to those of the other one, which drop it.
fn foreign(lab: &Lab, recorded: &[Recorded; 2], reason: DropReason) -> Result<()> {
    for (Recorded { opening, request, .. }, others) in recorded.iter().zip(CLUSTERS.into_iter().rev()) {
        for node in &lab.edges[others] {
            for packet in [opening, request] {
                expect(lab, node, &sent_to(packet, node), reason.into()).context(node.name.clone())?;
            }
        }
    }
    Ok(())
}

/// The same with what members ask each other: nobody answers for another one.
fn probes(lab: &Lab, reason: DropReason) -> Result<()> {
    for (cluster, others) in CLUSTERS.into_iter().zip(CLUSTERS.into_iter().rev()) {
        let mut capture = Capture::start(&lab.router)?;
        let ask = capture.next(PATIENCE, |packet| {
            let mut members = lab.edges[cluster.clone()].iter();
            is_ask(packet) && members.any(|node| node.link.host.v4.octets() == packet[16..20])
        })?;
        for node in &lab.edges[others] {
            expect(lab, node, &sent_to(&ask, node), reason.into()).context(node.name.clone())?;
        }
    }
    Ok(())
}

fn is_ask(packet: &[u8]) -> bool {
    let Some(gue) = packet.get(GUE..GUE + LEN) else { return false };
    let is_probe = packet[9] == 17 && packet[22..24] == DEFAULT_PORT.to_be_bytes() && is_control(gue[0]);
    is_probe && Message::from_bytes(gue).is_some_and(|message| message.is(Kind::Ask))
}

/// The same packet to another node.
fn sent_to(packet: &[u8], node: &Node) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[16..20].copy_from_slice(&node.link.host.v4.octets());
    packet
}

/// The same packet to a node in another row, as who has the key can make it.
fn tagged(packet: &[u8], row: [MemberId; 3], node: &Node) -> Result<Vec<u8>> {
    let mut packet = sent_to(packet, node);
    let inner = &packet[GUE + HEADER_LEN..];
    let ports = Ports { source: word(&inner[20..])?, destination: word(&inner[22..])?, protocol: inner[9] };
    let address = |at: usize| anyhow::Ok(u32::from_ne_bytes(inner[at..at + 4].try_into()?));
    let tuple = Tuple::V4 { source: address(12)?, destination: address(16)?, ports };
    let key = derive(HASH_KEY);
    let chain = Chain::start(Row::new(row), Direction::FromOpener);
    let header = Header::new(INNER_V4, chain, 0, &key, flow_hash(&key, &tuple));
    packet[GUE..GUE + HEADER_LEN].copy_from_slice(&header.bytes());
    Ok(packet)
}

fn word(bytes: &[u8]) -> Result<u16> {
    Ok(u16::from_ne_bytes(bytes[..2].try_into()?))
}

/// What becomes of packets that some node has taken for its own, or for another one's.
const TAKEN: [Verdict; 12] = [
    Verdict::NoService,
    Verdict::DeliveredFirstHop,
    Verdict::DeliveredMember,
    Verdict::Sent,
    Verdict::FoundFirst,
    Verdict::FoundSecond,
    Verdict::FoundThird,
    Verdict::FoundNowhere,
    Verdict::Opened,
    Verdict::PassedOn,
    Verdict::Echoed,
    Verdict::ToldTooBig,
];

/// How many packets each node has taken so.
fn taken(lab: &Lab) -> Result<Vec<f64>> {
    let of = |node: &Node| TAKEN.iter().map(|verdict| node.verdict(*verdict)).sum::<Result<f64>>();
    lab.edges.iter().map(of).collect()
}

/// The same, once what is under way has come.
fn at_rest(lab: &Lab) -> Result<Vec<f64>> {
    let mut before = taken(lab)?;
    eventually("nothing is under way", PATIENCE, || {
        let now = taken(lab)?;
        let before = std::mem::replace(&mut before, now.clone());
        ensure!(now == before, "{now:?} after {before:?}");
        Ok(now)
    })
}

/// The connections live, and others open at both VIPs.
fn serve(lab: &Lab, recorded: &mut [Recorded; 2]) -> Result<()> {
    for Recorded { connection, .. } in recorded {
        let status = connection.fetch(SHOP, "/")?.status;
        ensure!(status == 200, "{status}");
    }
    let to: Vec<_> = [lab.vip(), OTHER].into_iter().flat_map(Addresses::both).collect();
    let to: Vec<_> = to.into_iter().map(|vip| SocketAddr::new(vip, 80)).collect();
    let calls = Calls::default();
    calls.during(&lab.client.clone(), &to, || calls.some_more())
}
