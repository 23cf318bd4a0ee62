//! More Services than the maps hold, on nodes that serve: who was there loses nothing, and what finds no place is said.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_common::map::MAX_SERVICES;
use lb_common::service_table::{BUCKET_SLOTS, ServiceKey6, candidates};
use lb_tests::lab::http::Connection;
use lb_tests::lab::site::SHOP;
use lb_tests::lab::spread::owner;
use lb_tests::lab::wait::{eventually, until};
use lb_tests::lab::{Lab, Node};
use lb_tests::proc::processor_time;

use crate::liveness::{await_all_up, dump};
use crate::takeover::Calls;
use crate::{PATIENCE, connect, edges, with_site};

/// For a state with thousands of services to be read, and to be in force.
const SOON: Duration = Duration::from_secs(20);

/// So long nothing may happen.
const QUIET: Duration = Duration::from_secs(1);

/// Connections that live throughout.
const KEPT: usize = 16;

/// VIPs of each family: the most that one Service may have, in all.
const VIPS: u16 = 32;

/// On each VIP. With the VIPs, and the two VIPs and their two ports that there are before, these are 70 too many.
const PORTS: RangeInclusive<u16> = 1..=128;

/// Behind `ingress`, whose VIPs and ports were there before, by name.
const MANY: &str = "many";

/// Behind `MANY`.
const NEXT: &str = "next";

#[test]
fn more_services_than_the_maps_hold_break_nothing() -> Result<()> {
    with_site("more_services_than_the_maps_hold_break_nothing", &edges(2), |lab, _| {
        await_all_up(lab)?;
        let mut kept = keep(lab)?;
        let to = [SocketAddr::new(lab.vip().v4.into(), 80), SocketAddr::new(lab.vip().v6.into(), 80)];
        let calls = Calls::default();
        let next = IpAddr::from([203, 0, 113, 200]);
        calls.during(&lab.client.clone(), &to, || {
            lab.manifests.write("many.yaml", &service(MANY, (0..VIPS).flat_map(vips), PORTS))?;
            await_words(lab, MANY, 70)?;
            lab.manifests.write("next.yaml", &service(NEXT, [next], 80..=80))?;
            await_words(lab, NEXT, 1)?;
            calls.some_more()
        })?;
        let [first, last] = [0, VIPS - 1].map(vips);
        for (vip, port) in [(first[0], 1), (last[0], 1), (first[1], 126), (last[1], 126)] {
            fetch(lab, SocketAddr::new(vip, port)).with_context(|| format!("{vip}, port {port}"))?;
        }
        // What is known to be for a VIP is refused, what is for none is lost.
        refused(lab, SocketAddr::new(first[0], 128))?;
        refused(lab, SocketAddr::new(last[1], 128))?;
        lab.edges.iter_mut().try_for_each(rests)?;
        calls.during(&lab.client.clone(), &to, || {
            lab.manifests.write("many.yaml", &service(MANY, (0..VIPS).flat_map(vips), 2..=64))?;
            eventually("the one that had no place", SOON, || fetch(lab, SocketAddr::new(next, 80)))?;
            eventually("none is left out", SOON, || lab.edges.iter().try_for_each(is_content))?;
            calls.some_more()
        })?;
        fetch(lab, SocketAddr::new(last[1], 64))?;
        refused(lab, SocketAddr::new(last[1], 1))?;
        request(&mut kept)
    })
}

/// VIPs of a /64 of which port 80 has the same two places in the map, as an attacker would seek them: one more than these
/// have room for.
const ALIKE: [u64; 2 * BUCKET_SLOTS + 1] = [
    0x0e54_bef2_93c4_354e,
    0x230c_1e39_4df9_f54f,
    0x303a_e44b_af53_07a3,
    0x46b9_2f0c_eef2_5047,
    0x7bac_dd31_2c35_722b,
    0x83a8_3a0b_b7dd_d7f8,
    0xa416_2e82_1112_4b61,
    0xa451_934c_48e9_fabb,
    0xcbc7_668b_effb_3f05,
];

#[test]
fn places_that_are_taken_keep_out_what_comes_last() -> Result<()> {
    with_site("places_that_are_taken_keep_out_what_comes_last", &edges(2), |lab, _| {
        await_all_up(lab)?;
        let mut kept = keep(lab)?;
        let all = ALIKE.map(|last| Ipv6Addr::from((0x2001_0db8_0053_0000 << 64) | u128::from(last)));
        let place = candidates(key(all[0], 80));
        ensure!(all.iter().all(|vip| candidates(key(*vip, 80)) == place), "the map has other places");
        let (last, first) = all.split_last().context("there are some")?;
        let vips = |vips: &[Ipv6Addr]| vips.iter().copied().map(IpAddr::from).collect::<Vec<_>>();
        let to = [SocketAddr::new(lab.vip().v4.into(), 80), SocketAddr::new(lab.vip().v6.into(), 80)];
        let calls = Calls::default();
        calls.during(&lab.client.clone(), &to, || {
            lab.manifests.write("many.yaml", &service(MANY, vips(first), 80..=80))?;
            for vip in first {
                eventually("it has a place", SOON, || fetch(lab, SocketAddr::new((*vip).into(), 80)))?;
            }
            lab.manifests.write("next.yaml", &service(NEXT, [(*last).into()], 80..=80))?;
            for node in &mut lab.edges {
                let agent = node.agent().context("it was started")?;
                eventually("what is left out is named", SOON, || {
                    let log = agent.log();
                    let is_it = |line: &&str| line.contains("share a place") && line.contains(NEXT);
                    let said: Vec<_> = log.lines().filter(is_it).collect();
                    ensure!(said.len() == 1 && said[0].contains(&last.to_string()), "{said:?}");
                    Ok(())
                })?;
            }
            calls.some_more()
        })?;
        refused(lab, SocketAddr::new((*last).into(), 80))?;
        first.iter().try_for_each(|vip| fetch(lab, SocketAddr::new((*vip).into(), 80)))?;
        lab.edges.iter_mut().try_for_each(rests)?;
        lab.manifests.write("many.yaml", &service(MANY, vips(&first[1..]), 80..=80))?;
        eventually("it gets the place that is free", SOON, || {
            fetch(lab, SocketAddr::new((*last).into(), 80))
        })?;
        request(&mut kept)
    })
}

fn key(vip: Ipv6Addr, port: u16) -> ServiceKey6 {
    const TCP: u8 = 6;
    let word = |half: u128| u64::from_ne_bytes((half as u64).to_be_bytes());
    ServiceKey6::new([word(vip.to_bits() >> 64), word(vip.to_bits())], port.to_be(), TCP)
}

/// A VIP of each family that no other Service has.
fn vips(at: u16) -> [IpAddr; 2] {
    [[203, 0, 113, 100 + at as u8].into(), [0x2001, 0xdb8, 0x53, 0, 0, 0, 1, at].into()]
}

/// A Service of the class whose ports are all listeners.
fn service(name: &str, vips: impl IntoIterator<Item = IpAddr>, ports: RangeInclusive<u16>) -> String {
    let port = |port| format!("    - {{ name: p{port}, port: {port}, appProtocol: http }}\n");
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: edgelb-system\n  annotations:\n    \
         edgelb.dev/vips: '{}'\nspec:\n  type: LoadBalancer\n  loadBalancerClass: edgelb.dev/ingress\n  ports:\n{}",
        joined(vips, ","),
        joined(ports.map(port), "")
    )
}

fn joined<T: Display>(all: impl IntoIterator<Item = T>, between: &str) -> String {
    all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(between)
}

/// Connections that both nodes have some of.
fn keep(lab: &Lab) -> Result<Vec<Connection<TcpStream>>> {
    let to = lab.vip().both().map(|vip| SocketAddr::new(vip, 80));
    let mut kept = (0..KEPT).map(|at| connect(lab, to[at % 2])).collect::<Result<Vec<_>>>()?;
    let owners = kept.iter_mut().map(|connection| Ok(&owner(lab, connection, SHOP)?.name));
    let owners = owners.collect::<Result<BTreeSet<_>>>()?;
    ensure!(owners.len() == lab.edges.len(), "of {KEPT} connections, all are with {owners:?}");
    Ok(kept)
}

fn request(connections: &mut [Connection<TcpStream>]) -> Result<()> {
    connections.iter_mut().try_for_each(|connection| expect_shop(connection).context("one that lives"))
}

fn fetch(lab: &Lab, to: SocketAddr) -> Result<()> {
    expect_shop(&mut connect(lab, to)?)
}

fn expect_shop(connection: &mut Connection<TcpStream>) -> Result<()> {
    let status = connection.fetch(SHOP, "/")?.status;
    ensure!(status == 200, "{status}");
    Ok(())
}

fn refused(lab: &Lab, to: SocketAddr) -> Result<()> {
    let answer = lab.client.connect(to, PATIENCE).map(drop).map_err(|error| error.kind());
    ensure!(answer == Err(ErrorKind::ConnectionRefused), "{to}: {answer:?}");
    Ok(())
}

/// Waits until all nodes say how much of a Service is left out, and have the rest in force.
fn await_words(lab: &mut Lab, service: &str, left_out: usize) -> Result<()> {
    let words = format!(
        "Service edgelb-system/{service}: spec.ports: there is room for {MAX_SERVICES} VIPs and ports of VIPs in all, and \
         older Services come first: {left_out} of this Service are left out"
    );
    for node in &mut lab.edges {
        eventually("it is said what is left out", SOON, || {
            let said = said(node, &words)?;
            ensure!(said == 1, "{said} times {words:?}");
            ensure!(problems(node)? > 0.0, "no problem by the metric");
            in_force(node)
        })?;
    }
    Ok(())
}

/// Whether kernel and proxy have what the objects say.
fn in_force(node: &Node) -> Result<()> {
    let of = dump(node)?["generation"].clone();
    ensure!(of["kernel"] == of["snapshot"] && of["proxy"] == of["snapshot"], "{}: {of}", node.name);
    Ok(())
}

fn is_content(node: &Node) -> Result<()> {
    let problems = problems(node)?;
    ensure!(problems == 0.0, "{problems} problems");
    in_force(node)
}

/// How often its agent has said this.
fn said(node: &mut Node, words: &str) -> Result<usize> {
    Ok(node.agent().context("it was started")?.log().matches(words).count())
}

fn problems(node: &Node) -> Result<f64> {
    node.metric("lb_agent_problems{severity=\"error\"}")
}

/// Nothing goes on at the node: what is left out is not tried again and again, and told no second time.
fn rests(node: &mut Node) -> Result<()> {
    let kernel = |node: &Node| node.metric("lb_agent_generation{stage=\"kernel\"}");
    let before = (kernel(node)?, said(node, "left out")?);
    let agent = node.agent().context("it was started")?.id();
    let (start, used) = (Instant::now(), processor_time(agent)?);
    until("a while", 2 * QUIET, || start.elapsed() > QUIET)?;
    let used = processor_time(agent)? - used;
    println!("{} used {used:?} in {:?}", node.name, start.elapsed());
    ensure!(used < start.elapsed() / 2, "{} used {used:?} in {:?}", node.name, start.elapsed());
    let after = (kernel(node)?, said(node, "left out")?);
    ensure!(after == before, "{after:?} after {before:?}");
    Ok(())
}
