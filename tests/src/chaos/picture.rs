//! Where the live flows are: the router's next hop of each, the opener of its bucket, the node whose kernel has it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use lb_agent::l4::maglev;
use lb_agent::model::Member;
use lb_common::hash::{FlowKey, flow_hash};
use lb_common::row::{MemberId, Row, bucket};
use serde_json::Value;

use super::fate::Flow;
use super::scene::Watched;
use crate::fixture::tuple;
use crate::lab::{Namespace, first_hop};

/// `IPPROTO_TCP`
const TCP: u8 = 6;

/// `TCP_ESTABLISHED` in `/proc/net/tcp`
const ESTABLISHED: &str = "01";

/// Of each flow, in the order in which they were asked for: the name of a node, if there is one.
pub type Nodes = Vec<Option<String>>;

/// The next hops that the router takes for IPv4. For IPv6 its kernel would name others than it takes: where no
/// packet is at hand, it leaves out a step of the hash that packets get (`rt6_multipath_custom_hash_fl6`).
///
/// # Errors
/// Those of netlink.
pub fn first_hops(router: &Namespace, flows: &[Flow]) -> Result<Nodes> {
    let v4: Vec<_> = flows.iter().filter(|flow| flow.vip.is_ipv4()).collect();
    let asked: Vec<_> = v4.iter().map(|flow| (flow.client, flow.vip)).collect();
    let hops: BTreeMap<_, _> = v4.into_iter().zip(first_hop::of(router, "client", &asked)?).collect();
    Ok(flows.iter().map(|flow| hops.get(flow).cloned().flatten()).collect())
}

/// The openers by the membership that is in force at most nodes: with a folder, each goes by a history of its own, and those
/// that are no members do not wait for what flows need.
///
/// # Errors
/// If no agent answers.
pub fn openers(nodes: &[Watched], key: &FlowKey, flows: &[Flow]) -> Result<Nodes> {
    let mut views: Vec<(usize, Vec<Member>)> = Vec::new();
    for view in nodes.iter().filter_map(|node| members(node).ok()) {
        match views.iter_mut().find(|(_, known)| *known == view) {
            Some((times, _)) => *times += 1,
            None => views.push((1, view)),
        }
    }
    let (_, members) = views.into_iter().max_by_key(|(times, _)| *times).context("no agent answers")?;
    let members: Vec<_> = members.into_iter().filter(|member| member.weight > 0).collect();
    let names: BTreeMap<_, _> = members.iter().map(|member| (member.id, &member.name)).collect();
    let table = maglev::fill(&members);
    let opener = |flow: &Flow| {
        let row = Row::from_bits(table.rows[bucket(hash(key, *flow)) as usize]);
        names.get(&row.opener()).map(|&name| name.clone())
    };
    Ok(flows.iter().map(opener).collect())
}

fn hash(key: &FlowKey, Flow { client, vip }: Flow) -> u64 {
    flow_hash(key, &tuple(client.ip(), vip.ip(), TCP, client.port(), vip.port()))
}

/// The members by whose weights new flows open at a node, those that drain with none. A member may be gone from the objects
/// while a change waits: so ids and addresses, on which no table depends, are made up.
///
/// # Errors
/// If its agent does not answer, or goes by none yet.
pub fn members(node: &Watched) -> Result<Vec<Member>> {
    let dump = dump(node)?;
    let weights = in_force(&dump).context("no membership is in force yet")?;
    let member = |(id, (name, weight)): (MemberId, (&String, &Value))| {
        let weight = weight.as_u64()?.try_into().ok()?;
        Some(Member { name: name.clone(), id, address: Ipv4Addr::UNSPECIFIED.into(), weight })
    };
    let members = (1..).zip(weights).map(|both| member(both).with_context(|| format!("no weight: {both:?}")));
    members.collect()
}

/// The newest membership by which flows open: names and weights.
fn in_force(dump: &Value) -> Option<&serde_json::Map<String, Value>> {
    let agreed = dump["memberships"]["agreed"].as_array()?;
    agreed.iter().rfind(|membership| membership["step"] != "learn")?["members"].as_object()
}

/// Whether new flows open at a node, by one's word.
///
/// # Errors
/// If that one's agent does not answer.
pub fn opens_at(asked: &Watched, node: &str) -> Result<bool> {
    let members = members(asked)?;
    Ok(members.iter().any(|member| member.name == node && member.weight > 0))
}

/// Whether a change of members waits at a node, since flows need all former ones.
///
/// # Errors
/// If its agent does not answer.
pub fn queued(node: &Watched) -> Result<bool> {
    Ok(dump(node)?["memberships"]["queued"].is_string())
}

/// The fingerprint of the flow key by which flows open at a node, if it goes by one.
///
/// # Errors
/// If its agent does not answer.
pub fn key_in_force(node: &Watched) -> Result<Option<u32>> {
    let dump = dump(node)?;
    let print = dump["memberships"]["flow_keys"]["in_force"].as_str();
    Ok(print.map(|print| u32::from_str_radix(print, 16)).transpose()?)
}

fn dump(node: &Watched) -> Result<Value> {
    Ok(serde_json::from_slice(&node.admin("/debug/snapshot")?.body)?)
}

/// The nodes whose kernels have the connections, by those kernels' own lists.
///
/// # Errors
/// If two have the same one, or a list cannot be read.
pub fn holders(nodes: &[Watched]) -> Result<BTreeMap<Flow, String>> {
    let mut holders = BTreeMap::new();
    for node in nodes {
        for flow in node.namespace.run(established)? {
            // A list that changes while it is read may name a connection twice.
            let before = holders.insert(flow, node.name.clone()).unwrap_or_else(|| node.name.clone());
            ensure!(before == node.name, "{flow:?} is at {before} and at {}", node.name);
        }
    }
    Ok(holders)
}

/// Established connections of clients to VIPs in this thread's namespace.
fn established() -> Result<Vec<Flow>> {
    let mut flows = Vec::new();
    for file in ["tcp", "tcp6"] {
        let table = fs::read_to_string(format!("/proc/thread-self/net/{file}"))?;
        flows.extend(table.lines().skip(1).filter_map(flow));
    }
    // What the proxy opened to pods has no VIP for its own end.
    flows.retain(|flow| [80, 443].contains(&flow.vip.port()));
    Ok(flows)
}

/// A line of `/proc/net/tcp`: number, local and remote address, state, and more.
fn flow(line: &str) -> Option<Flow> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    (fields.next()? == ESTABLISHED).then_some(Flow { client: remote, vip: local })
}

/// Words of four bytes as the machine has them, in hexadecimal, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(8 * at..8 * at + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = if ip.len() == 8 {
        Ipv4Addr::from(word(0)?).into()
    } else {
        let words = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
        Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?).to_canonical()
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_read_as_the_kernel_writes_them() {
        let line = "   3: 0A7100CB:0050 640200C0:8235 01 00000000:00000000 00:00000000 00000000 0 0 4711 1";
        let found = flow(line).expect("a connection");
        assert_eq!(found.vip.to_string(), "203.0.113.10:80");
        assert_eq!(found.client.to_string(), "192.0.2.100:33333");
        assert_eq!(flow(&line.replace(" 01 ", " 0A ")), None);
        let v6 = "0: B80D0120000053000000000010000000:01BB B80D012000000C000000000002000000:8235 01 0:0 0";
        let found = flow(v6).expect("a connection");
        assert_eq!(found.vip.to_string(), "[2001:db8:53::10]:443");
        let mapped =
            "0: 0000000000000000FFFF00000A7100CB:0050 0000000000000000FFFF0000640200C0:8235 01 0:0 0";
        assert_eq!(flow(mapped).map(|flow| flow.client.to_string()), Some("192.0.2.100:33333".into()));
    }
}
