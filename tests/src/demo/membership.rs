//! One node taken out of the table: its Node object loses its label.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::Lab;
use crate::lab::site::SHOP;
use crate::lab::spread::measure;
use crate::lab::wait::eventually;

use super::report::Report;
use super::shares::count;

/// How long a change, or one answer, may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// So many connections without the node say that it has no bucket: with one of three it is missed once in 10^10.
const PROBES: usize = 60;

pub(super) fn without_a_node(lab: &mut Lab, report: &Report, connections: usize) -> Result<()> {
    let out = lab.edges.len() - 1;
    let name = lab.edges[out].name.clone();
    report.part(&format!("{name} is taken out of the table"));
    report.command(&format!(
        "kubectl label node {name} edgelb.dev/edge-   # here: the label goes from its file"
    ));
    report.step("until the other nodes have all new connections", || {
        lab.write_nodes(&[&name])?;
        let to = SocketAddr::new(lab.vip().v4.into(), 80);
        eventually("the change of the table", PATIENCE, || {
            let spread = measure(lab, to, SHOP, PROBES, || {})?;
            ensure!(spread[&name] == 0, "{name} still answers");
            Ok(())
        })
    })?;
    report.note(&format!("the router still sends it a third of the packets, and {name} passes them on"));
    let spread = count(lab, report, connections)?;
    for (node, &count) in &spread {
        let expected = if *node == name { 0 } else { connections / out };
        report.bar(node, count, expected, connections);
    }
    lab.write_nodes(&[])?;
    Ok(())
}
