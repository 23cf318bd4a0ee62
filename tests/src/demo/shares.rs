//! Connections spread over the nodes, and kept while the router spreads packets anew.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::lab::Lab;
use crate::lab::http::Connection;
use crate::lab::site::SHOP;
use crate::lab::spread::{Spread, measure, owner};

use super::report::Report;
use super::{brief, grouped};

/// Connections that are kept open while the router changes.
const KEPT: usize = 200;

pub(super) fn of_connections(lab: &Lab, report: &Report, connections: usize) -> Result<()> {
    report.part(&format!("{} connections, shared by consistent hashing in XDP", grouped(connections)));
    let spread = count(lab, report, connections)?;
    let expected = connections / lab.edges.len();
    for (name, &count) in &spread {
        report.bar(name, count, expected, connections);
    }
    Ok(())
}

/// Makes new connections and shows how fast.
pub(super) fn count(lab: &Lab, report: &Report, connections: usize) -> Result<Spread> {
    let to = SocketAddr::new(lab.vip().v4.into(), 80);
    let progress = report.progress("connections:", connections);
    let start = Instant::now();
    let spread = measure(lab, to, SHOP, connections, || progress.advance())?;
    report.clear_line()?;
    let rate = connections as f64 / start.elapsed().as_secs_f64();
    report.note(&format!(
        "each a new TCP connection with one request; {} in all, {rate:.0} a second, none failed",
        brief(start.elapsed())
    ));
    Ok(spread)
}

/// The sets of next hops that the router goes through.
const REHASHES: [&[usize]; 4] = [&[0], &[1, 2], &[2], &[0, 1, 2]];

pub(super) fn through_router_changes(lab: &Lab, report: &Report) -> Result<()> {
    report.part("The router changes its next hops, connections do not notice");
    let to = SocketAddr::new(lab.vip().v4.into(), 80);
    let mut open = (0..KEPT)
        .map(|_| {
            let mut connection = Connection::new(lab.client.connect(to, super::membership::PATIENCE)?);
            let node = owner(lab, &mut connection, SHOP)?.name.clone();
            Ok((connection, node))
        })
        .collect::<Result<Vec<_>>>()?;
    for hops in REHASHES {
        let nodes: Vec<_> = hops.iter().map(|&hop| &lab.edges[hop]).collect();
        lab.spread_vips(&nodes)?;
        for (connection, before) in &mut open {
            let now = &owner(lab, connection, SHOP)?.name;
            ensure!(now == before, "a connection of {before} was answered by {now}");
        }
        let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
        report.success(&format!(
            "next hops {}: {KEPT} of {KEPT} connections answer, same owner",
            names.join(", ")
        ));
    }
    Ok(())
}
