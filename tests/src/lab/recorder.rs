//! The last packets that the router received, kept in memory for the case that a test fails (pcapng).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use lb_agent::admin::capture::pcapng::{self, Link, Writer};
use socket2::Socket;

use super::capture::{Capture, Family};
use super::namespace::Namespace;

/// Packets kept of each family.
const PACKETS: usize = 20_000;

/// Bytes kept of each packet: all headers, encapsulated ones included, and some of what follows.
const SNAP: usize = 256;

/// How soon a recorder notices that it is to stop.
const TICK: Duration = Duration::from_millis(50);

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

/// All of them, as of one interface.
fn write(out: &mut impl Write, packets: &[Packet]) -> Result<()> {
    let (mut writer, first) = Writer::begin(Link::Ip, SNAP as u32, "lb-lab");
    out.write_all(&first)?;
    for Packet { at, length, bytes } in packets {
        let packet =
            pcapng::Packet { interface: "router", at: *at, bytes, length: *length as u32, comment: "" };
        out.write_all(&writer.packet(&packet))?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::super::pcapng::read;
    use super::*;

    #[test]
    fn what_is_recorded_can_be_read() {
        let packet = Packet { at: Duration::from_millis(1_500), length: 300, bytes: vec![0x45; 2] };
        let mut file = Vec::new();
        write(&mut file, &[packet]).expect("memory takes it");
        let read = read(&file).expect("pcapng");
        assert_eq!(read.len(), 1);
        assert_eq!(
            (read[0].at, read[0].length, read[0].bytes.as_slice()),
            (Duration::from_millis(1_500), 300, &[0x45; 2][..])
        );
    }
}
