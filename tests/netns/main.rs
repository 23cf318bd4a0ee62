//! The netns tier: many nodes in namespaces, real clients. Needs root.

mod capture;
mod chaos;
mod clock;
mod demo;
mod drain;
mod explain;
mod flow_key;
mod forged;
mod fragments;
mod full;
mod host_ports;
mod icmp;
mod lab;
mod lifecycle;
mod live;
mod liveness;
mod machine;
mod membership;
mod outer_v6;
mod refused;
mod requests;
mod segments;
mod silent;
mod soak;
mod spread;
mod systemd;
mod takeover;
mod top;
mod two_clusters;
mod untouched;
mod uplink;
mod weights;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use lb_tests::lab::http::Connection;
use lb_tests::lab::site::Site;
use lb_tests::lab::{Lab, Topology, run};

/// How long one step of a client may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a test in a lab whose site is published and whose agents are ready.
fn with_site(
    test: &str,
    topology: &Topology,
    body: impl FnOnce(&mut Lab, &Site) -> Result<()>,
) -> Result<()> {
    run(test, topology, |lab| {
        let site = Site::publish(lab)?;
        lab.run_agents()?;
        body(lab, &site)
    })
}

/// As the default, with this many edge nodes.
fn edges(edges: u8) -> Topology {
    Topology { edges, ..Topology::default() }
}

/// A new connection from the client, ready for requests.
fn connect(lab: &Lab, to: SocketAddr) -> Result<Connection<std::net::TcpStream>> {
    let stream = lab.client.connect(to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(Connection::new(stream))
}
