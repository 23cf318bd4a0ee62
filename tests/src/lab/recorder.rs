//! The last packets that the router received, kept in memory for the case that a test fails (pcap format).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use socket2::Socket;

use super::capture::{Capture, Family};
use super::namespace::Namespace;

/// Packets kept of each family.
const PACKETS: usize = 20_000;

/// Bytes kept of each packet: all headers, encapsulated ones included, and some of what follows.
const SNAP: usize = 256;

/// How soon a recorder notices that it is to stop.
const TICK: Duration = Duration::from_millis(50);

/// `LINKTYPE_RAW`: packets start with their IP header.
const RAW_IP: u32 = 101;

/// Records until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Recorder {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<VecDeque<Packet>>>,
}

#[derive(Debug)]
struct Packet {
    at: Duration,
    length: usize,
    bytes: Vec<u8>,
}

impl Recorder {
    /// Records what a namespace receives.
    pub(crate) fn start(namespace: &Namespace) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for family in [Family::V4, Family::V6] {
            let capture = Capture::of(namespace, family)?;
            capture.socket().set_read_timeout(Some(TICK))?;
            let over = over.clone();
            threads.push(thread::spawn(move || record(&capture, &over)));
        }
        Ok(Self { over, threads })
    }

    /// Writes what was recorded last.
    pub(crate) fn save(mut self, path: &Path) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        let mut packets: Vec<Packet> =
            self.threads.drain(..).flat_map(|thread| thread.join().unwrap_or_default()).collect();
        packets.sort_by_key(|packet| packet.at);
        write(&mut BufWriter::new(File::create(path)?), &packets)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn record(capture: &Capture, over: &AtomicBool) -> VecDeque<Packet> {
    let mut packets = VecDeque::new();
    let mut buffer = vec![0; 65_536];
    while !over.load(Ordering::Relaxed) {
        // Nothing within a tick.
        let mut socket: &Socket = capture.socket();
        let Ok(length) = socket.read(&mut buffer) else { continue };
        if packets.len() == PACKETS {
            packets.pop_front();
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        packets.push_back(Packet { at, length, bytes: buffer[..length.min(SNAP)].to_vec() });
    }
    packets
}

/// The classic format with microseconds: draft-ietf-opsawg-pcap.
fn write(out: &mut impl Write, packets: &[Packet]) -> Result<()> {
    out.write_all(&0xa1b2_c3d4_u32.to_ne_bytes())?;
    out.write_all(&2_u16.to_ne_bytes())?;
    out.write_all(&4_u16.to_ne_bytes())?;
    for word in [0, 0, SNAP as u32, RAW_IP] {
        out.write_all(&word.to_ne_bytes())?;
    }
    for packet in packets {
        let seconds = packet.at.as_secs() as u32;
        for word in [seconds, packet.at.subsec_micros(), packet.bytes.len() as u32, packet.length as u32] {
            out.write_all(&word.to_ne_bytes())?;
        }
        out.write_all(&packet.bytes)?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_pcap() {
        let packet = Packet { at: Duration::from_millis(1_500), length: 300, bytes: vec![0x45; 2] };
        let mut file = Vec::new();
        write(&mut file, &[packet]).expect("memory takes it");
        assert_eq!(file.len(), 24 + 16 + 2);
        let words: Vec<u32> =
            file.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().expect("four"))).collect();
        assert_eq!((words[0], words[5]), (0xa1b2_c3d4, 101));
        assert_eq!(words[6..10], [1, 500_000, 2, 300]);
    }
}
