//! Datagrams in parts, over several first hops: TCP segments cut by hand, and large pings.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};

use anyhow::{Context, Result, bail, ensure};
use lb_common::verdict::{DropReason, Verdict};
use lb_tests::lab::address::Link;
use lb_tests::lab::capture::{Capture, inject};
use lb_tests::lab::http::Connection;
use lb_tests::lab::icmp::ping_of;
use lb_tests::lab::pcapng::{self, Packet};
use lb_tests::lab::site::SHOP;
use lb_tests::lab::spread::owner;
use lb_tests::lab::wait::until;
use lb_tests::lab::{Lab, Node};
use lb_tests::packet::{Ip, Segment, Transport, flags};

use crate::icmp::next_sent;
use crate::{PATIENCE, capture, connect, edges, with_site};

/// Between two parts a busy machine may take longer than an agent holds one: then all are sent anew.
const TRIES: u32 = 10;

/// Bytes of a request, and of its parts.
const REQUEST: usize = 700;
const PART: usize = 200;

/// The longest packet that the links take: too long for an encapsulation.
const LONGEST: usize = 1500;

#[test]
fn parts_in_reverse_over_two_first_hops_reach_the_owner() -> Result<()> {
    with_site("parts_in_reverse_over_two_first_hops_reach_the_owner", &edges(3), |lab, _| {
        for (vip, client) in lab.vip().both().into_iter().zip(Link::client().host.both()) {
            let before = count(lab, Verdict::Held)?;
            // With each identification another node may be the collector.
            for (case, hops) in (0_u32..).zip([[0, 1], [1, 2], [2, 0]]) {
                let hops = hops.map(|index| &lab.edges[index]);
                let request = Request::begin(lab, vip, client, REQUEST)?;
                let by_two = |again| {
                    let parts = request.segment.parts(0x1_0001 * (1 + case * TRIES + again), PART);
                    let (first, later) = parts.split_first().context("parts")?;
                    lab.spread_vips(&[hops[0]])?;
                    later.iter().rev().try_for_each(|part| inject(&lab.router, &part.bytes()))?;
                    lab.spread_vips(&[hops[1]])?;
                    inject(&lab.router, &first.bytes())
                };
                let name = || format!("{vip}: {} then {}", hops[0].name, hops[1].name);
                request.arrives(lab, by_two).with_context(name)?;
            }
            ensure!(count(lab, Verdict::Held)? > before, "{vip}: none came before its first part");
        }
        ensure!(count(lab, DropReason::FragmentUnheld.into())? < 0.5, "all that were early were held");
        Ok(())
    })
}

/// What is captured is held as else, and shows once more when it is given back.
#[test]
fn what_is_held_while_somebody_captures_shows_twice() -> Result<()> {
    with_site("what_is_held_while_somebody_captures_shows_twice", &edges(2), |lab, _| {
        let (vip, client) = (lab.vip().v4.into(), Link::client().host.v4.into());
        let request = Request::begin(lab, vip, client, REQUEST)?;
        let all = || lab.edges.iter();
        let captures = all().map(|node| capture::write(lab, node, &vip.to_string()));
        let mut captures = captures.collect::<Result<Vec<_>>>()?;
        request.arrives(lab, |again| {
            let parts = request.segment.parts(0x2_0002 + again, PART);
            parts.iter().rev().try_for_each(|part| inject(&lab.router, &part.bytes()))
        })?;
        for capture in &mut captures {
            let end = capture.stop()?;
            ensure!(end.success(), "{end}: {}", capture.log());
        }
        let files = all().map(|node| pcapng::read(&fs::read(lab.folder().join(&node.name))?));
        let nodes = files.collect::<Result<Vec<_>>>()?;
        let is_given = |packets: &[Packet], held: &Packet| {
            packets.iter().any(|packet| packet.bytes == held.bytes && packet.comment != held.comment)
        };
        let mut held = nodes.iter().flat_map(|packets| packets.iter().map(move |packet| (packets, packet)));
        let shown = held.any(|(packets, packet)| packet.comment == "held" && is_given(packets, packet));
        ensure!(shown, "{nodes:?}");
        Ok(())
    })
}

#[test]
fn what_is_too_big_and_may_be_cut_reaches_the_owner() -> Result<()> {
    with_site("what_is_too_big_and_may_be_cut_reaches_the_owner", &edges(3), |lab, _| {
        let (vip, client) = (lab.vip().v4.into(), Link::client().host.v4.into());
        for node in &lab.edges {
            let request = Request::begin(lab, vip, client, LONGEST - 40)?;
            lab.spread_vips(&[node])?;
            let whole = |again| inject(&lab.router, &request.segment.clone().id(100 + again as u16).bytes());
            request.arrives(lab, whole).with_context(|| format!("by {}", node.name))?;
        }
        Ok(())
    })
}

#[test]
fn large_pings_are_answered() -> Result<()> {
    with_site("large_pings_are_answered", &edges(3), |lab, _| {
        for vip in lab.vip().both() {
            for hops in [&lab.edges[..], &lab.edges[..1], &lab.edges[1..2], &lab.edges[2..]] {
                lab.spread_vips(&hops.iter().collect::<Vec<_>>())?;
                // Over IPv6, the client is told first what fits.
                until("the ping is answered", 4 * PATIENCE, || {
                    ping_of(&lab.client, vip, PATIENCE / 5, 4_000).is_ok()
                })
                .with_context(|| format!("{vip} by {} nodes", hops.len()))?;
            }
        }
        Ok(())
    })
}

/// A request that a client's kernel knows nothing of: the next segment of its connection.
struct Request {
    segment: Ip,
    vip: IpAddr,
    /// What an answer has behind the sequence number: its ports, and what it acknowledges.
    ports: [u8; 4],
    acknowledges: u32,
    /// Open until the end.
    _connection: Connection<TcpStream>,
}

impl Request {
    /// A request of `len` bytes, without DF, on a new connection.
    fn begin(lab: &Lab, vip: IpAddr, client: IpAddr, len: usize) -> Result<Self> {
        lab.spread_vips(&lab.edges.iter().collect::<Vec<_>>())?;
        let mut capture = Capture::like(&lab.router, vip)?;
        let mut connection = connect(lab, SocketAddr::new(vip, 80))?;
        owner(lab, &mut connection, SHOP)?;
        let port = connection.stream().local_addr()?.port();
        let last = next_sent(&mut capture, vip, port)?;
        let head = format!("GET / HTTP/1.1\r\nHost: {SHOP}\r\nX-Long: ");
        let payload = format!("{head}{}\r\n\r\n", "x".repeat(len - head.len() - 4));
        let segment = Segment { flags: flags::ACK, sequence: last.acknowledged, acknowledged: last.sequence };
        let transport = Transport::segment(port, 80, segment).with(payload.as_bytes());
        let [high, low] = port.to_be_bytes();
        Ok(Self {
            segment: Ip::new(client, vip, transport).summed(),
            vip,
            ports: [0, 80, high, low],
            acknowledges: last.acknowledged.wrapping_add(len as u32),
            _connection: connection,
        })
    }

    /// Sends it until its owner acknowledges it.
    fn arrives(&self, lab: &Lab, send: impl Fn(u32) -> Result<()>) -> Result<()> {
        let tcp = if self.vip.is_ipv4() { 20 } else { 40 };
        let acknowledges = self.acknowledges.to_be_bytes();
        let mut capture = Capture::like(&lab.router, self.vip)?;
        for again in 0..TRIES {
            send(again)?;
            let acknowledged = |packet: &[u8]| {
                packet.get(tcp..tcp + 4) == Some(&self.ports)
                    && packet.get(tcp + 8..tcp + 12) == Some(&acknowledges)
                    && packet.get(tcp + 13).is_some_and(|found| found & flags::RST == 0)
            };
            if capture.next(PATIENCE / 5, acknowledged).is_ok() {
                return Ok(());
            }
        }
        bail!("no answer")
    }
}

fn count(lab: &Lab, verdict: Verdict) -> Result<f64> {
    lab.edges.iter().map(|node: &Node| node.verdict(verdict)).sum()
}
