//! The relay: delays, loses and repeats SYNs and SYN-ACKs of the connections that the router leads through it, and
//! passes everything else on. A program, for kernels without netem.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::lab::capture::{Capture, Family};
use crate::lab::raw::Sender;
use crate::lab::{Lab, divert};
use crate::pattern::Pattern;

use super::client::connect::ROUGH_PORTS;

/// How soon it notices that it is to stop.
const TICK: Duration = Duration::from_millis(20);

const SYN: u8 = 0x02;

/// What it did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Did {
    /// SYNs and SYN-ACKs.
    pub handshakes: u64,
    /// Of them, lost; each only once, so that the next try arrives.
    pub lost: u64,
    /// Sent later than they came.
    pub delayed: u64,
    /// Sent twice.
    pub repeated: u64,
    /// All other packets.
    pub passed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    lost: AtomicU64,
    delayed: AtomicU64,
    repeated: AtomicU64,
    untouched: AtomicU64,
    passed: AtomicU64,
}

/// A relay; dropped, it ends.
#[derive(Debug)]
pub struct Relay {
    over: Arc<AtomicBool>,
    counters: Arc<Counters>,
    threads: Vec<JoinHandle<()>>,
}

/// What it does with a SYN or SYN-ACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Treatment {
    Lose,
    Delay(Duration),
    Repeat(Duration),
    Pass,
}

impl Relay {
    /// Raises it in a lab, and leads the packets of its clients through it.
    ///
    /// # Errors
    /// Those of the system.
    pub fn start(lab: &Lab) -> Result<Self> {
        let namespace = lab.raise_relay()?;
        let nodes: Vec<String> = lab.edges.iter().map(|node| node.name.clone()).collect();
        let over = Arc::new(AtomicBool::new(false));
        let counters = Arc::new(Counters::default());
        let mut threads = Vec::new();
        for family in [Family::V4, Family::V6] {
            let capture = Capture::of(&namespace, family)?;
            let out = namespace.run(|| Sender::new(family)).context("a raw socket")?;
            let (over, counters) = (over.clone(), counters.clone());
            let line = Line { capture, out, over, counters, seen: HashMap::new(), later: BinaryHeap::new() };
            threads.push(thread::spawn(move || line.run()));
        }
        divert::tcp_of_ports(&lab.router, &nodes, &ROUGH_PORTS)?;
        Ok(Self { over, counters, threads })
    }

    /// What it did so far.
    #[must_use]
    pub fn did(&self) -> Did {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { lost, delayed, repeated, untouched, passed } = &*self.counters;
        let (lost, delayed, repeated) = (load(lost), load(delayed), load(repeated));
        let handshakes = lost + delayed + repeated + load(untouched);
        Did { handshakes, lost, delayed, repeated, passed: load(passed) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It has nothing to say but its counters.
            let _ = thread.join();
        }
    }
}

/// One family's packets.
struct Line {
    capture: Capture,
    out: Sender,
    over: Arc<AtomicBool>,
    counters: Arc<Counters>,
    /// How often a SYN or SYN-ACK of a flow came.
    seen: HashMap<(SocketAddr, SocketAddr), u64>,
    later: BinaryHeap<Reverse<(Instant, Vec<u8>)>>,
}

impl Line {
    fn run(mut self) {
        let mut buffer = vec![0; 65_536];
        while !self.over.load(Ordering::Relaxed) {
            let wait = self.send_due();
            // A socket that takes no time-out would end the relay at its next packet at the latest.
            let _ = self.capture.socket().set_read_timeout(Some(wait));
            let mut socket = self.capture.socket();
            if let Ok(length) = socket.read(&mut buffer) {
                self.take(&buffer[..length]);
            }
        }
    }

    /// Sends what is due; how long until the next.
    fn send_due(&mut self) -> Duration {
        while let Some(Reverse((due, _))) = self.later.peek() {
            let left = due.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return left.clamp(Duration::from_millis(1), TICK);
            }
            if let Some(Reverse((_, packet))) = self.later.pop() {
                self.send(&packet);
            }
        }
        TICK
    }

    fn take(&mut self, packet: &[u8]) {
        let Some(head) = Head::parse(packet) else { return };
        if head.flags & SYN == 0 {
            self.counters.passed.fetch_add(1, Ordering::Relaxed);
            return self.send(packet);
        }
        let times = self.seen.entry((head.source, head.destination)).or_default();
        *times += 1;
        let treatment = Treatment::of(head.source, head.destination, *times);
        let counter = match treatment {
            Treatment::Lose => &self.counters.lost,
            Treatment::Delay(_) => &self.counters.delayed,
            Treatment::Repeat(_) => &self.counters.repeated,
            Treatment::Pass => &self.counters.untouched,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Treatment::Delay(later) | Treatment::Repeat(later) = treatment {
            self.later.push(Reverse((Instant::now() + later, packet.to_vec())));
        }
        if matches!(treatment, Treatment::Repeat(_) | Treatment::Pass) {
            self.send(packet);
        }
    }

    fn send(&self, packet: &[u8]) {
        let Some(head) = Head::parse(packet) else { return };
        self.out.send(packet, head.destination.ip());
    }
}

/// Changes what runs do from one process to the next.
static SEED: LazyLock<u64> = LazyLock::new(|| u64::from(std::process::id()));

impl Treatment {
    /// Only the first packet of its kind is lost: the second try must arrive.
    fn of(source: SocketAddr, destination: SocketAddr, times: u64) -> Self {
        let ports = u64::from(source.port()) << 16 | u64::from(destination.port());
        let dice = Pattern::new(*SEED ^ ports << 8 ^ times).take(3);
        let time = Duration::from_millis(10 + 2 * u64::from(dice[1]));
        match dice[0] {
            0..=25 if times == 1 => Self::Lose,
            26..=76 => Self::Delay(time),
            77..=127 => Self::Repeat(time * u32::from(1 + dice[2] % 4)),
            _ => Self::Pass,
        }
    }
}

/// What counts of a packet's headers.
struct Head {
    source: SocketAddr,
    destination: SocketAddr,
    flags: u8,
}

impl Head {
    /// TCP without extension headers: what the lab's clients and nodes send.
    fn parse(packet: &[u8]) -> Option<Self> {
        let (source, destination, tcp): (IpAddr, IpAddr, &[u8]) = match packet.first()? >> 4 {
            4 if packet.get(9) == Some(&6) => {
                let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?));
                (address(12)?, address(16)?, packet.get(usize::from(packet[0] & 0xf) * 4..)?)
            }
            6 if packet.get(6) == Some(&6) => {
                let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<16>()?));
                (address(8)?, address(24)?, packet.get(40..)?)
            }
            _ => return None,
        };
        let port = |at: usize| Some(u16::from_be_bytes(*tcp.get(at..)?.first_chunk()?));
        Some(Self {
            source: SocketAddr::new(source, port(0)?),
            destination: SocketAddr::new(destination, port(2)?),
            flags: *tcp.get(13)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_of_both_families() {
        let mut four = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 100, 203, 0, 113, 10];
        let tcp = [0x27, 0x10, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, SYN, 0, 0, 0, 0, 0, 0];
        four.extend(tcp);
        let head = Head::parse(&four).expect("TCP");
        assert_eq!((head.source.to_string().as_str(), head.flags), ("192.0.2.100:10000", SYN));
        let mut six = vec![0x60, 0, 0, 0, 0, 20, 6, 64];
        six.extend([0x20; 16]);
        six.extend([0x30; 16]);
        six.extend(tcp);
        assert_eq!(Head::parse(&six).expect("TCP").destination.port(), 80);
        assert!(Head::parse(&four[..30]).is_none());
        four[9] = 17;
        assert!(Head::parse(&four).is_none());
    }

    #[test]
    fn each_treatment_happens_and_no_second_try_is_lost() {
        let at = |port| SocketAddr::new([192, 0, 2, 100].into(), port);
        let of = |times| (0..1_000).map(move |n| Treatment::of(at(10_000 + n), at(80), times));
        let share = |is: fn(&Treatment) -> bool| of(1).filter(is).count();
        assert!((50..200).contains(&share(|t| *t == Treatment::Lose)));
        assert!((100..300).contains(&share(|t| matches!(t, Treatment::Delay(_)))));
        assert!((100..300).contains(&share(|t| matches!(t, Treatment::Repeat(_)))));
        assert!(of(2).all(|treatment| treatment != Treatment::Lose));
    }
}
