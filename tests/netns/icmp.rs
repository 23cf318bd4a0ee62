//! ICMP errors for VIPs, and ports of VIPs that nobody serves.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_common::checksum;
use lb_common::verdict::Verdict;
use lb_tests::lab::address::Link;
use lb_tests::lab::capture::{Capture, inject};
use lb_tests::lab::site::SHOP;
use lb_tests::lab::spread::owner;
use lb_tests::lab::wait::until;
use lb_tests::lab::{Lab, Node};
use lb_tests::packet::{Ip, Segment, Transport};

use crate::{PATIENCE, connect, edges, with_site};

/// What the router says its next link takes.
const MTU: u16 = 1300;

/// After so long without one, no segment is on its way any more.
const QUIET: Duration = Duration::from_millis(500);

#[test]
fn a_too_big_reaches_the_owner_through_any_first_hop() -> Result<()> {
    with_site("a_too_big_reaches_the_owner_through_any_first_hop", &edges(3), |lab, _| {
        let clients = Link::client().host.both();
        for (vip, client) in lab.vip().both().into_iter().zip(clients) {
            lab.spread_vips(&lab.edges.iter().collect::<Vec<_>>())?;
            let mut capture = Capture::like(&lab.router, vip)?;
            let mut connection = connect(lab, SocketAddr::new(vip, 80))?;
            let holder = owner(lab, &mut connection, SHOP)?;
            let port = connection.stream().local_addr()?.port();
            let segment = Segment { acknowledged: 0, ..next_sent(&mut capture, vip, port)? };
            let about = Ip::new(vip, client, Transport::segment(80, port, segment));
            let other = lab.edges.iter().find(|node| node.name != holder.name).context("three nodes")?;
            lab.spread_vips(&[other])?;
            inject(&lab.router, &too_big(Link::client().router.both()[usize::from(vip.is_ipv6())], &about))?;
            until("the owner knows the path's MTU", PATIENCE, || knows_mtu(holder, client).unwrap_or(false))?;
            for node in lab.edges.iter().filter(|node| node.name != holder.name) {
                ensure!(!knows_mtu(node, client)?, "{} was told, too", node.name);
            }
            owner(lab, &mut connection, SHOP).context("the connection goes on")?;
        }
        Ok(())
    })
}

/// An empty segment as the VIP would send it next: the kernel heeds no error about what is outside of its window.
pub(crate) fn next_sent(capture: &mut Capture, vip: IpAddr, port: u16) -> Result<Segment> {
    let tcp = if vip.is_ipv4() { 20 } else { 40 };
    let ports = [80_u16.to_be_bytes(), port.to_be_bytes()].concat();
    let mut next = None;
    while let Ok(packet) = capture.next(QUIET, |packet| packet.get(tcp..tcp + 4) == Some(&ports[..])) {
        const FIN_AND_SYN: u8 = 3;
        let sequence = u32::from_be_bytes(packet[tcp + 4..tcp + 8].try_into()?);
        let data = packet.len() - tcp - usize::from(packet[tcp + 12] >> 4) * 4;
        let counts = u32::from(packet[tcp + 13] & FIN_AND_SYN != 0);
        let sequence = sequence.wrapping_add(data as u32 + counts);
        let acknowledged = u32::from_be_bytes(packet[tcp + 8..tcp + 12].try_into()?);
        next = Some(Segment { sequence, acknowledged, ..Segment::default() });
    }
    next.context("the VIP answered")
}

/// The error of `router` about a packet.
fn too_big(router: IpAddr, about: &Ip) -> Vec<u8> {
    let vip = about.source();
    let (kind, protocol) = if vip.is_ipv4() { ([3, 4], 1) } else { ([2, 0], 58) };
    let [high, low] = MTU.to_be_bytes();
    let mut bytes = [kind[0], kind[1], 0, 0, 0, 0, high, low].to_vec();
    bytes.extend(about.bytes());
    let mut sum = checksum::sum(&bytes);
    if let (IpAddr::V6(router), IpAddr::V6(vip)) = (router, vip) {
        sum += checksum::sum(&[router.octets(), vip.octets()].concat())
            + bytes.len() as u32
            + u32::from(protocol);
    }
    bytes[2..4].copy_from_slice(&checksum::finish(sum).to_be_bytes());
    Ip::new(router, vip, Transport::other(protocol, &bytes)).bytes()
}

fn knows_mtu(node: &Node, client: IpAddr) -> Result<bool> {
    let mut command = Command::new("ip");
    command.args(["route", "get", &client.to_string()]);
    Ok(node.output(command)?.1.contains(&format!("mtu {MTU}")))
}

#[test]
fn a_port_that_nobody_serves_is_refused_where_it_is_asked_for() -> Result<()> {
    with_site("a_port_that_nobody_serves_is_refused_where_it_is_asked_for", &edges(3), |lab, _| {
        for node in &lab.edges {
            lab.spread_vips(&[node])?;
            for vip in lab.vip().both() {
                let to = SocketAddr::new(vip, 8080);
                let before = no_service(lab)?;
                let kind = lab.client.connect(to, PATIENCE).err().map(|error| error.kind());
                ensure!(kind == Some(ErrorKind::ConnectionRefused), "{}: {to}: {kind:?}", node.name);
                let kind = lab.client.run(|| ask(to)).err().map(|error| error.kind());
                ensure!(kind == Some(ErrorKind::ConnectionRefused), "{}: UDP {to}: {kind:?}", node.name);
                let met = no_service(lab)? - before;
                ensure!((met - 2.0).abs() < 0.5, "{}: {to}: {met} packets of 2 sent", node.name);
            }
        }
        Ok(())
    })
}

/// Sends a datagram and waits for an answer.
fn ask(to: SocketAddr) -> std::io::Result<()> {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"anyone?")?;
    socket.recv(&mut [0; 16]).map(drop)
}

/// Packets for such ports that all nodes have met.
fn no_service(lab: &Lab) -> Result<f64> {
    lab.edges.iter().map(|node| node.verdict(Verdict::NoService)).sum()
}
