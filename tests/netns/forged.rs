//! Forged packets of the encapsulation: a member's source address proves nothing, the tag does.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_common::encap::{DEFAULT_PORT, HEADER_LEN};
use lb_common::probe::is_control;
use lb_common::verdict::{DropReason, Verdict};
use lb_tests::lab::capture::{Capture, inject};
use lb_tests::lab::http::Connection;
use lb_tests::lab::site::SHOP;
use lb_tests::lab::wait::{eventually, until};
use lb_tests::lab::{Lab, Node};
use lb_tests::packet::flags::SYN;
use lb_tests::proc::connections_to;

use crate::silent::settle;
use crate::{PATIENCE, connect, edges, with_site};

/// Rows of the first seconds are over by then.
const SETTLED: Duration = Duration::from_secs(30);

/// The second and the third member of the chain.
const OTHERS: Range<usize> = GUE + 8..GUE + 12;

/// Where the GUE header starts: after the outer IPv4 and UDP headers.
pub(crate) const GUE: usize = 20 + 8;

#[test]
fn packets_without_a_right_tag_are_dropped_and_counted() -> Result<()> {
    with_site("packets_without_a_right_tag_are_dropped_and_counted", &edges(2), |lab, _| {
        // Until then a member may ask others.
        settle(lab)?;
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

/// A connection's packets as they went from its first hop to its owner.
pub(crate) struct Recorded {
    pub(crate) connection: Connection<TcpStream>,
    pub(crate) opening: Vec<u8>,
    pub(crate) request: Vec<u8>,
}

/// How often each is sent again.
const TIMES: usize = 20;

#[test]
fn what_is_recorded_and_sent_again_opens_nothing() -> Result<()> {
    with_site("what_is_recorded_and_sent_again_opens_nothing", &edges(2), |lab, _| {
        settle(lab)?;
        let Recorded { mut connection, opening, request } = recorded(lab, lab.vip().v4)?;
        let client = connection.stream().local_addr()?;
        let address = receiver(lab, &opening)?.link.host;
        let owner = lab.edges.iter_mut().find(|node| node.link.host == address).context("the owner")?;
        let agent = owner.agent().context("it was started")?.id();
        let again = |lab: &Lab| {
            let owner = receiver(lab, &opening)?;
            let before = owner.verdict(Verdict::DeliveredMember)?;
            let passed_on =
                || lab.edges.iter().map(|node| node.verdict(Verdict::PassedOn)).sum::<Result<f64>>();
            let passed_on_before = passed_on()?;
            for packet in [&opening, &request].into_iter().cycle().take(2 * TIMES) {
                inject(&lab.client, packet)?;
            }
            eventually("all are taken", PATIENCE, || {
                let taken = owner.verdict(Verdict::DeliveredMember)? - before;
                ensure!(taken >= 2.0 * TIMES as f64, "{taken} of them");
                Ok(())
            })?;
            ensure!(passed_on()? == passed_on_before, "some were passed on");
            Ok(())
        };
        again(lab)?;
        ensure!(connections_to(agent, client)? == 1, "more than the one that lives");
        let status = connection.fetch(SHOP, "/")?.status;
        ensure!(status == 200, "{status}");
        drop(connection);
        until("it has ended", PATIENCE, || connections_to(agent, client).is_ok_and(|open| open == 0))?;
        again(lab)?;
        ensure!(connections_to(agent, client)? == 0, "opened by nobody");
        let status = connect(lab, SocketAddr::new(lab.vip().v4.into(), 80))?.fetch(SHOP, "/")?.status;
        ensure!(status == 200, "{status}");
        Ok(())
    })
}

/// A connection to a VIP that another node owns than the one that the router chose, for which nobody else has to be asked.
pub(crate) fn recorded(lab: &Lab, vip: Ipv4Addr) -> Result<Recorded> {
    let mut capture = Capture::start(&lab.router)?;
    eventually("a connection with an owner behind its first hop", SETTLED, || {
        let mut connection = connect(lab, SocketAddr::new(vip.into(), 80))?;
        connection.fetch(SHOP, "/")?;
        let from = connection.stream().local_addr()?.port().to_be_bytes();
        let mut next = |is_opening: bool| {
            capture.next(Duration::from_secs(1), |packet| {
                let segment = GUE + HEADER_LEN + 20;
                is_alone(packet)
                    && packet.get(segment..segment + 2) == Some(&from[..])
                    && (packet[segment + 13] & SYN != 0) == is_opening
            })
        };
        // The second one may be the handshake's end: neither opens anything.
        Ok(Recorded { opening: next(true)?, request: next(false)?, connection })
    })
}

/// Whether it is a client's packet that one node sent to the other, with a chain of one.
fn is_alone(packet: &[u8]) -> bool {
    let is_encapsulated =
        packet.len() > GUE + HEADER_LEN && packet[9] == 17 && packet[22..24] == DEFAULT_PORT.to_be_bytes();
    is_encapsulated && !is_control(packet[GUE]) && packet[OTHERS] == [0; 4]
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
        capture.next(Duration::from_secs(1), is_alone)
    })
}

pub(crate) fn receiver<'a>(lab: &'a Lab, packet: &[u8]) -> Result<&'a Node> {
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
