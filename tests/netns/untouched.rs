//! What is not for a VIP passes the nodes' XDP program unchanged.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use anyhow::Result;
use lb_common::verdict::Verdict;
use lb_tests::lab::icmp::ping;

use crate::{PATIENCE, edges, with_site};

#[test]
fn traffic_of_the_node_itself_passes() -> Result<()> {
    with_site("traffic_of_the_node_itself_passes", &edges(1), |lab, _| {
        let node = &lab.edges[0];
        let before = node.verdict(Verdict::NotForVip)?;
        for own in node.link.host.both() {
            ping(&lab.client, own, PATIENCE)?;
            let listener = node.namespace.run(|| TcpListener::bind((own, 8022)))?;
            let mut client = lab.client.connect(SocketAddr::new(own, 8022), PATIENCE)?;
            let (mut server, _) = listener.accept()?;
            client.write_all(b"to the node")?;
            drop(client);
            let mut received = String::new();
            server.read_to_string(&mut received)?;
            assert_eq!(received, "to the node");
        }
        assert!(node.verdict(Verdict::NotForVip)? > before);
        Ok(())
    })
}
