//! What the listeners on VIPs say of the segments that they take: no packet of a client gets too long on its way between nodes.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use lb_common::encap::OVERHEAD_V6;
use lb_tests::lab::capture::Capture;

use crate::{PATIENCE, connect, edges, with_site};

/// Of the uplinks.
const MTU: usize = 1500;

/// IPv6, the longer one, and TCP.
const HEADERS: usize = 40 + 20;

const TCP: u8 = 6;

#[test]
fn a_syn_ack_asks_for_segments_that_fit_between_nodes() -> Result<()> {
    with_site("a_syn_ack_asks_for_segments_that_fit_between_nodes", &edges(2), |lab, _| {
        for (vip, port) in lab.vip().both().into_iter().flat_map(|vip| [(vip, 80), (vip, 443)]) {
            let mut heard = Capture::like(&lab.client, vip)?;
            let _connection = connect(lab, SocketAddr::new(vip, port))?;
            let packet =
                heard.next(PATIENCE, |packet| tcp(packet).is_some_and(|tcp| is_syn_ack(tcp, port)))?;
            let segment = most(tcp(&packet).context("a TCP header")?).context("no option says it")?;
            // The nodes' own addresses may be of either family: what fits in IPv6 fits in IPv4.
            ensure!(segment == MTU - OVERHEAD_V6 - HEADERS, "{vip}: {segment} bytes");
        }
        Ok(())
    })
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
