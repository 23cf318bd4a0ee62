//! SYNs from random sources, as fast as a small machine takes them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::lab::{Lab, Node};
use crate::pattern::Pattern;

/// SYNs a second.
const RATE: u64 = 5_000;

/// `IPPROTO_RAW`
const RAW: i32 = 255;

/// Forged SYNs to the VIP's port 80; dropped, it ends.
pub(super) struct Flood {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let socket = lab.client.run(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW))))?;
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let vip = lab.vip().v4;
        let (is_over, count) = (over.clone(), sent.clone());
        let thread = thread::spawn(move || run(&socket, vip, &is_over, &count));
        Ok(Self { over, sent, thread: Some(thread) })
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// SYN cookies that the nodes have sent.
    pub(super) fn cookies(&self, lab: &Lab) -> Result<u64> {
        lab.edges.iter().map(cookies).sum()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

fn run(socket: &Socket, vip: Ipv4Addr, over: &AtomicBool, sent: &AtomicU64) {
    let to = SockAddr::from(SocketAddrV4::new(vip, 0));
    let start = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let number = sent.fetch_add(1, Ordering::Relaxed);
        let due = Duration::from_nanos(number * 1_000_000_000 / RATE);
        if let Some(ahead) = due.checked_sub(start.elapsed()) {
            thread::sleep(ahead);
        }
        // What the queue does not take is lost, as in any flood.
        let _ = socket.send_to(&syn(number, vip), &to);
    }
}

/// A SYN from 198.18.0.0/15 (RFC 2544). The kernel fills in the header's checksum, we that of TCP.
fn syn(number: u64, vip: Ipv4Addr) -> [u8; 40] {
    let mut dice = Pattern::new(number).take(10).into_iter();
    let mut next = || dice.next().unwrap_or_default();
    let mut packet = [0; 40];
    packet[..12].copy_from_slice(&[0x45, 0, 0, 40, next(), next(), 0, 0, 64, 6, 0, 0]);
    packet[12..16].copy_from_slice(&[198, 18 + next() % 2, next(), next()]);
    packet[16..20].copy_from_slice(&vip.octets());
    packet[20..24].copy_from_slice(&[0x80 | next(), next(), 0, 80]);
    packet[24..28].copy_from_slice(&[next(), next(), next(), 0]);
    packet[32..36].copy_from_slice(&[0x50, 0x02, 0xff, 0xff]);
    let checksum = checksum(&packet);
    packet[36..38].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// RFC 9293, 3.1: over addresses, protocol, length and the segment.
fn checksum(packet: &[u8; 40]) -> u16 {
    let words = packet[12..].chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum::<u32>() + 6 + 20;
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// `SyncookiesSent` of a node's kernel.
fn cookies(node: &Node) -> Result<u64> {
    let text = node.namespace.run(|| fs::read_to_string("/proc/thread-self/net/netstat"))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().context("no names")?, lines.next().context("no values")?);
    let mut both = names.split(' ').zip(values.split(' '));
    let (_, sent) = both.find(|(name, _)| *name == "SyncookiesSent").context("no count of cookies")?;
    Ok(sent.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_syns_have_right_checksums_and_many_sources() {
        let vip = Ipv4Addr::new(203, 0, 113, 10);
        let mut sources = std::collections::BTreeSet::new();
        for number in 0..100 {
            let packet = syn(number, vip);
            assert_eq!(checksum(&packet), 0, "{packet:x?}");
            sources.insert(packet[12..16].to_vec());
        }
        assert!(sources.len() > 95);
    }
}
