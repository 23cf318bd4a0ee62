//! Forged packets of the encapsulation: a member's source address proves nothing, the tag does.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_common::encap::{DEFAULT_PORT, HEADER_LEN};
use lb_common::probe::is_control;
use lb_common::verdict::{DropReason, Verdict};
use lb_tests::lab::capture::{Capture, inject};
use lb_tests::lab::site::SHOP;
use lb_tests::lab::wait::eventually;
use lb_tests::lab::{Lab, Node};

use crate::{PATIENCE, connect, edges, with_site};

/// Rows of the first seconds are over by then.
const SETTLED: Duration = Duration::from_secs(30);

/// The second and the third member of the chain.
const OTHERS: Range<usize> = GUE + 8..GUE + 12;

/// Where the GUE header starts: after the outer IPv4 and UDP headers.
const GUE: usize = 20 + 8;

#[test]
fn packets_without_a_right_tag_are_dropped_and_counted() -> Result<()> {
    with_site("packets_without_a_right_tag_are_dropped_and_counted", &edges(2), |lab, _| {
        let real = captured(lab)?;
        let member = receiver(lab, &real)?;
        // As it was, it is taken again: only its content is looked at, not who sent it.
        expect(lab, member, &real, Verdict::DeliveredMember)?;
        for (what, at) in [
            ("tag", GUE + HEADER_LEN - 1),
            ("chain: a member's id", GUE + 9),
            ("inner source address", GUE + HEADER_LEN + 15),
            ("inner source port", GUE + HEADER_LEN + 21),
        ] {
            let mut forged = real.clone();
            forged[at] ^= 1;
            expect(lab, member, &forged, DropReason::BadTag.into()).context(what)?;
        }
        let mut other_cluster = real.clone();
        other_cluster[GUE + 15] ^= 1;
        expect(lab, member, &other_cluster, DropReason::WrongCluster.into())?;
        expect(lab, member, &real[..GUE + 4], DropReason::MalformedEncap.into())
    })
}

/// A packet that one node sent to the other.
fn captured(lab: &Lab) -> Result<Vec<u8>> {
    let mut capture = Capture::start(&lab.router)?;
    // Where nodes do not know yet what was before them, they ask each other.
    eventually("a packet with a chain of one", SETTLED, || {
        // With two nodes each flow has an even chance to be encapsulated.
        for _ in 0..8 {
            connect(lab, SocketAddr::new(lab.vip().v4.into(), 80))?.fetch(SHOP, "/")?;
        }
        capture.next(Duration::from_secs(1), |packet| {
            let is_encapsulated = packet.len() > GUE + HEADER_LEN
                && packet[9] == 17
                && packet[22..24] == DEFAULT_PORT.to_be_bytes();
            is_encapsulated && !is_control(packet[GUE]) && packet[OTHERS] == [0; 4]
        })
    })
}

fn receiver<'a>(lab: &'a Lab, packet: &[u8]) -> Result<&'a Node> {
    let mut nodes = lab.edges.iter();
    nodes.find(|node| node.link.host.v4.octets() == packet[16..20]).context("for none of the nodes")
}

/// Sends the packet from the client, with its outer lengths made right, and waits until it is counted.
pub(crate) fn expect(lab: &Lab, node: &Node, packet: &[u8], verdict: Verdict) -> Result<()> {
    let mut packet = packet.to_vec();
    let length = u16::try_from(packet.len())?;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[24..26].copy_from_slice(&(length - 20).to_be_bytes());
    let before = node.verdict(verdict)?;
    inject(&lab.client, &packet)?;
    eventually(verdict.label(), PATIENCE, || {
        let now = node.verdict(verdict)?;
        ensure!(now > before, "{now} such packets as before");
        Ok(())
    })
}
