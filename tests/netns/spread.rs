//! Flows are shared by hash, and stay where they are however the router changes its mind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use lb_tests::lab::http::Connection;
use lb_tests::lab::site::SHOP;
use lb_tests::lab::spread::{measure, owner};
use lb_tests::lab::wait::eventually;
use lb_tests::lab::{Lab, Topology};

use crate::{PATIENCE, connect, with_site};

const CONNECTIONS: usize = 3_000;

/// As `deviation`, of nodes that share alike.
fn tolerance(connections: usize, nodes: usize) -> f64 {
    deviation(connections, 1.0 / nodes as f64)
}

/// A node with this share of all flows has of n connections its part with a standard deviation of sqrt(n share (1 - share)):
/// six of them are exceeded once in 500 million.
pub(crate) fn deviation(connections: usize, share: f64) -> f64 {
    6.0 * (connections as f64 * share * (1.0 - share)).sqrt()
}

/// Connections, each with the name of its owner.
pub(crate) type Held<S> = Vec<(Connection<S>, String)>;

/// Opens some.
pub(crate) fn hold_some(lab: &Lab, to: SocketAddr, count: usize) -> Result<Held<TcpStream>> {
    let hold = |_| {
        let mut connection = connect(lab, to)?;
        let owner = owner(lab, &mut connection, SHOP)?.name.clone();
        Ok((connection, owner))
    };
    (0..count).map(hold).collect()
}

/// A request on each: none is broken, and each is where it was.
pub(crate) fn ask<S: Read + Write>(lab: &Lab, held: &mut Held<S>) -> Result<()> {
    for (at, (connection, before)) in held.iter_mut().enumerate() {
        let now = owner(lab, connection, SHOP).with_context(|| format!("connection {at}, of {before}"))?;
        ensure!(now.name == *before, "connection {at}, of {before}, is answered by {}", now.name);
    }
    Ok(())
}

#[test]
fn connections_spread_evenly_over_the_nodes() -> Result<()> {
    with_site("connections_spread_evenly_over_the_nodes", &Topology::default(), |lab, _| {
        for vip in lab.vip().both() {
            let spread = measure(lab, SocketAddr::new(vip, 80), SHOP, CONNECTIONS, || {})?;
            println!("{vip}: {spread:?}");
            let expected = CONNECTIONS as f64 / lab.edges.len() as f64;
            assert_eq!(spread.values().sum::<usize>(), CONNECTIONS);
            for (name, &count) in &spread {
                let off = (count as f64 - expected).abs();
                assert!(off < tolerance(CONNECTIONS, lab.edges.len()), "{name}: {count} of {expected}");
            }
        }
        Ok(())
    })
}

/// The sets of next hops that the router goes through, again and again.
const REHASHES: [&[usize]; 6] = [&[0], &[1, 2], &[2], &[0, 1], &[1], &[0, 1, 2]];

#[test]
fn connections_survive_every_change_of_the_router() -> Result<()> {
    with_site("connections_survive_every_change_of_the_router", &Topology::default(), |lab, _| {
        for vip in lab.vip().both() {
            let mut connections = hold_some(lab, SocketAddr::new(vip, 80), 60)?;
            for hops in REHASHES {
                lab.spread_vips(&hops.iter().map(|&hop| &lab.edges[hop]).collect::<Vec<_>>())?;
                ask(lab, &mut connections).with_context(|| format!("next hops {hops:?}"))?;
            }
        }
        Ok(())
    })
}

#[test]
fn new_connections_work_while_the_router_changes() -> Result<()> {
    with_site("new_connections_work_while_the_router_changes", &Topology::default(), |lab, _| {
        let lab: &Lab = lab;
        let over = AtomicBool::new(false);
        let changes = AtomicUsize::new(0);
        thread::scope(|scope| {
            let router = scope.spawn(|| -> Result<()> {
                for hops in REHASHES.iter().cycle() {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    lab.spread_vips(&hops.iter().map(|&hop| &lab.edges[hop]).collect::<Vec<_>>())?;
                    changes.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
            let measured = measure(lab, SocketAddr::new(lab.vip().v4.into(), 80), SHOP, 1_000, || {});
            over.store(true, Ordering::Relaxed);
            router.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            let spread = measured?;
            println!("{spread:?} during {} changes", changes.load(Ordering::Relaxed));
            assert_eq!(spread.values().sum::<usize>(), 1_000);
            Ok(())
        })
    })
}

#[test]
fn a_node_without_the_label_still_passes_packets_on() -> Result<()> {
    with_site("a_node_without_the_label_still_passes_packets_on", &Topology::default(), |lab, _| {
        let out = lab.edges[2].name.clone();
        lab.spread_vips(&[&lab.edges[2]])?;
        lab.write_nodes(&[&out])?;
        for vip in lab.vip().both() {
            let to = SocketAddr::new(vip, 80);
            eventually("the change of the table", PATIENCE, || {
                let spread = measure(lab, to, SHOP, 40, || {})?;
                ensure!(spread[&out] == 0, "{out} still answers: {spread:?}");
                Ok(())
            })?;
            let spread = measure(lab, to, SHOP, 300, || {})?;
            let expected = 150.0;
            for node in ["edge-1", "edge-2"] {
                assert!((spread[node] as f64 - expected).abs() < tolerance(300, 2), "{spread:?}");
            }
        }
        Ok(())
    })
}
