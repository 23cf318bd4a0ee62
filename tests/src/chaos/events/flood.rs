//! SYNs from random sources, as fast as a small machine takes them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::lab::address::Addresses;
use crate::lab::capture::Family;
use crate::lab::raw::Sender;
use crate::lab::{Lab, Node};
use crate::packet::{Ip, Segment, Transport, flags};
use crate::pattern::Pattern;

/// SYNs a second: with half of it for each family, queues are full, though the kernel gives old ones up early then.
const RATE: u64 = 10_000;

/// Forged SYNs to the VIP's port 80; dropped, it ends.
pub(super) struct Flood {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let [v4, v6] = [Family::V4, Family::V6].map(|family| lab.client.run(|| Sender::new(family)));
        let senders = [v4?, v6?];
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let vip = lab.vip();
        let (is_over, count) = (over.clone(), sent.clone());
        let thread = thread::spawn(move || run(&senders, vip, &is_over, &count));
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

/// IPv4 and IPv6 by turns.
fn run(senders: &[Sender; 2], vip: Addresses, over: &AtomicBool, sent: &AtomicU64) {
    let start = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let number = sent.fetch_add(1, Ordering::Relaxed);
        let due = Duration::from_nanos(number * 1_000_000_000 / RATE);
        if let Some(ahead) = due.checked_sub(start.elapsed()) {
            thread::sleep(ahead);
        }
        let family = (number % 2) as usize;
        let to = vip.both()[family];
        senders[family].send(&syn(number, to), to);
    }
}

/// A SYN from the addresses that are for tests of this kind (RFC 2544, RFC 5180).
fn syn(number: u64, vip: IpAddr) -> Vec<u8> {
    let mut dice = Pattern::new(number).take(11).into_iter();
    let mut next = || dice.next().unwrap_or_default();
    let mut word = || u16::from_be_bytes([next(), next()]);
    let (high, low) = (word(), word());
    let source = match vip {
        IpAddr::V4(_) => {
            let [second, third] = high.to_be_bytes();
            let [fourth, _] = low.to_be_bytes();
            Ipv4Addr::new(198, 18 + second % 2, third, fourth).into()
        }
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, high, low).into(),
    };
    let sequence = u32::from(word()) << 16 | u32::from(word());
    let segment = Segment { flags: flags::SYN, sequence, acknowledged: 0 };
    Ip::new(source, vip, Transport::segment(0x8000 | word(), 80, segment)).summed().bytes()
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
    use std::collections::BTreeSet;

    #[test]
    fn forged_syns_have_many_sources() {
        let v4 = Ipv4Addr::new(203, 0, 113, 10).into();
        let sources: BTreeSet<_> = (0..100).map(|number| syn(number, v4)[12..16].to_vec()).collect();
        assert!(sources.len() > 95);
        let v6 = "2001:db8:53::10".parse().expect("an address");
        let sources: BTreeSet<_> = (0..100).map(|number| syn(number, v6)[8..24].to_vec()).collect();
        assert!(sources.len() > 95);
    }
}
