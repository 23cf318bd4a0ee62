//! What the listeners on VIPs say of the segments that they take: no packet of a client gets too long on its way between nodes.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lb_common::encap::OVERHEAD_V4;
use lb_common::verdict::Verdict;
use lb_tests::lab::Lab;
use lb_tests::lab::capture::Capture;
use lb_tests::lab::http::Connection;
use lb_tests::lab::netlink::{End, narrow};
use lb_tests::lab::site::SHOP;
use lb_tests::lab::wait::eventually;

use crate::liveness::await_all_up;
use crate::membership::hold_at;
use crate::{PATIENCE, connect, edges, with_site};

/// Of the uplinks.
const MTU: usize = 1500;

/// Of one way: encapsulated, an IPv6 packet of 1280 bytes does not fit, and its client cannot be told so.
const LESS: usize = 1300;

/// Longer than nothing less is to be heard before longer segments are asked for.
const RISEN: Duration = Duration::from_secs(30);

/// Bytes of a body: many packets of full size.
const UPLOAD: usize = 1 << 20;

const TCP: u8 = 6;

#[test]
fn a_syn_ack_asks_for_segments_that_fit_between_nodes() -> Result<()> {
    with_site("a_syn_ack_asks_for_segments_that_fit_between_nodes", &edges(2), |lab, _| {
        for (vip, port) in lab.vip().both().into_iter().flat_map(|vip| [(vip, 80), (vip, 443)]) {
            eventually("what fits", RISEN, || expect_segments(lab, (vip, port), MTU))?;
        }
        Ok(())
    })
}

/// The first hop is told that its packets are too big, and it is the owner that asks for shorter ones; the way back takes all.
#[test]
fn an_ipv6_client_uploads_over_a_way_that_takes_less_than_ipv6_promises() -> Result<()> {
    let test = "an_ipv6_client_uploads_over_a_way_that_takes_less_than_ipv6_promises";
    with_site(test, &edges(3), |lab, _| {
        await_all_up(lab)?;
        let [near, far, _] = &lab.edges[..] else { bail!("three nodes") };
        lab.spread_vips(&[near])?;
        let mut before = hold(lab, lab.vip().v6.into(), &far.name)?;
        narrow(End { namespace: &lab.router, interface: &far.name }, far.link.host.v4, LESS as u32)?;
        for vip in lab.vip().both() {
            // Of whichever owner.
            eventually("what fits now", PATIENCE, || {
                (0..8).try_for_each(|_| expect_segments(lab, (vip, 80), LESS))
            })?;
            let mut upload = hold(lab, vip, &far.name)?;
            ensure!(upload.post(SHOP, "/", &vec![7; UPLOAD])?.status == 200, "{vip}");
        }
        // It was asked for longer ones, and this is what nothing helps against.
        let told = near.verdict(Verdict::ToldTooBig)?;
        ensure!(before.post(SHOP, "/", &vec![7; UPLOAD]).is_err(), "packets of full size fit");
        ensure!(near.verdict(Verdict::ToldTooBig)? > told, "they were not too big");
        Ok(())
    })
}

/// A connection to a VIP that this node owns, for an upload that may hang.
fn hold(lab: &Lab, vip: IpAddr, node: &str) -> Result<Connection<TcpStream>> {
    let connection = hold_at(lab, SocketAddr::new(vip, 80), node)?;
    connection.stream().set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}

/// Whether a new connection is asked for segments that fit ways which take so many bytes.
fn expect_segments(lab: &Lab, (vip, port): (IpAddr, u16), mtu: usize) -> Result<()> {
    let mut heard = Capture::like(&lab.client, vip)?;
    let _connection = connect(lab, SocketAddr::new(vip, port))?;
    let packet = heard.next(PATIENCE, |packet| tcp(packet).is_some_and(|tcp| is_syn_ack(tcp, port)))?;
    let segment = most(tcp(&packet).context("a TCP header")?).context("no option says it")?;
    let headers = if vip.is_ipv4() { 20 + 20 } else { 40 + 20 };
    ensure!(segment == mtu - OVERHEAD_V4 - headers, "{vip}: {segment} bytes");
    Ok(())
}

/// From the TCP header on.
fn tcp(packet: &[u8]) -> Option<&[u8]> {
    match packet.first()? >> 4 {
        4 if packet.get(9) == Some(&TCP) => packet.get(usize::from(packet[0] & 15) * 4..),
        6 if packet.get(6) == Some(&TCP) => packet.get(40..),
        _ => None,
    }
}

fn is_syn_ack(tcp: &[u8], port: u16) -> bool {
    const SYN_ACK: u8 = 0x12;
    tcp.get(..2) == Some(&port.to_be_bytes()[..])
        && tcp.get(13).is_some_and(|flags| flags & SYN_ACK == SYN_ACK)
}

/// The option of the largest segment (RFC 9293, 3.2).
fn most(tcp: &[u8]) -> Option<usize> {
    let mut options = tcp.get(20..usize::from(tcp.get(12)? >> 4) * 4)?;
    loop {
        match *options {
            [1, ref rest @ ..] => options = rest,
            [2, 4, high, low, ..] => return Some(u16::from_be_bytes([high, low]).into()),
            [kind, length, ..] if kind != 0 => options = options.get(usize::from(length).max(2)..)?,
            _ => return None,
        }
    }
}
