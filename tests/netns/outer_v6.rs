//! A cluster whose nodes are IPv6 first: packets of both families travel between nodes in IPv6.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use lb_common::verdict::Verdict;
use lb_tests::lab::manifests::nodes;
use lb_tests::lab::site::{SHOP, Site};
use lb_tests::lab::spread::measure;
use lb_tests::lab::{Topology, run};

use crate::connect;
use crate::silent::settle;

#[test]
fn nodes_reach_each_other_over_ipv6() -> Result<()> {
    run("nodes_reach_each_other_over_ipv6", &Topology::default(), |lab| {
        Site::publish(lab)?;
        let all: Vec<(&str, IpAddr)> =
            lab.edges.iter().map(|node| (node.name.as_str(), node.link.host.v6.into())).collect();
        lab.manifests.write("nodes.yaml", &nodes(&all, &[]))?;
        lab.run_agents()?;
        settle(lab)?;
        let body = vec![b'u'; 100_000];
        for vip in lab.vip().both() {
            let to = SocketAddr::new(vip, 80);
            let spread = measure(lab, to, SHOP, 90, || {})?;
            assert!(spread.values().all(|&count| count > 0), "{spread:?}");
            for _ in 0..12 {
                let answer = connect(lab, to)?.post(SHOP, "/", &body)?;
                assert_eq!(answer.field("body-bytes")?, "100000");
            }
        }
        for node in &lab.edges {
            assert!(node.verdict(Verdict::Sent)? > 0.0, "{} sent nothing on", node.name);
            assert!(node.verdict(Verdict::DeliveredMember)? > 0.0, "{} was sent nothing", node.name);
        }
        Ok(())
    })
}
