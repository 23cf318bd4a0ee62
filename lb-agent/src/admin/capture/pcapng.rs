//! Packets as pcapng (draft-ietf-opsawg-pcapng): blocks for Wireshark, tshark and tcpdump, in this machine's byte order.

use std::time::Duration;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

const BYTE_ORDER: u32 = 0x1a2b_3c4d;

/// A section whose length is not said.
const NO_LENGTH: u64 = u64::MAX;

const COMMENT: u16 = 1;
const APPLICATION: u16 = 4;
const NAME: u16 = 2;
const RESOLUTION: u16 = 9;
const FLAGS: u16 = 2;
const RECEIVED: u16 = 4;
const DROPPED: u16 = 5;

const NANOSECONDS: u8 = 9;
const INBOUND: u32 = 1;

/// What packets begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// An IP header.
    Ip,
}

/// A packet that came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// The interface's name.
    pub interface: &'a str,
    /// Since 1970.
    pub at: Duration,
    /// Its start.
    pub bytes: &'a [u8],
    /// Its length.
    pub length: u32,
    /// What is said of it; may be empty.
    pub comment: &'a str,
}

/// Writes one section, block by block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Writer {
    link: Link,
    snap: u32,
    /// Those that were described, by their numbers.
    interfaces: Vec<String>,
}

impl Writer {
    /// A writer of packets of at most `snap` bytes, and what comes first.
    #[must_use]
    pub fn begin(link: Link, snap: u32, application: &str) -> (Self, Vec<u8>) {
        let mut body = Vec::new();
        body.extend(BYTE_ORDER.to_ne_bytes());
        body.extend(1_u16.to_ne_bytes());
        body.extend(0_u16.to_ne_bytes());
        body.extend(NO_LENGTH.to_ne_bytes());
        options(&mut body, &[(APPLICATION, application.as_bytes())]);
        (Self { link, snap, interfaces: Vec::new() }, block(SECTION, &body))
    }

    /// A packet, behind the description of its interface if it is the first one of it.
    #[must_use]
    pub fn packet(&mut self, packet: &Packet<'_>) -> Vec<u8> {
        let (number, mut bytes) = self.interface(packet.interface);
        let mut body = Vec::new();
        for word in [number, high(packet.at), low(packet.at), packet.bytes.len() as u32, packet.length] {
            body.extend(word.to_ne_bytes());
        }
        padded(&mut body, packet.bytes);
        options(&mut body, &[(FLAGS, &INBOUND.to_ne_bytes()), (COMMENT, packet.comment.as_bytes())]);
        bytes.extend(block(PACKET, &body));
        bytes
    }

    /// What comes last: of the first interface, how many packets were written and how many are missing for want of room.
    /// Nothing if there was no packet.
    #[must_use]
    pub fn end(&self, at: Duration, written: u64, lost: u64, comment: &str) -> Vec<u8> {
        if self.interfaces.is_empty() {
            return Vec::new();
        }
        let mut body = Vec::new();
        for word in [0, high(at), low(at)] {
            body.extend(word.to_ne_bytes());
        }
        let (written, lost) = (written.to_ne_bytes(), lost.to_ne_bytes());
        options(&mut body, &[(RECEIVED, &written), (DROPPED, &lost), (COMMENT, comment.as_bytes())]);
        block(STATISTICS, &body)
    }

    /// An interface's number, and its description if there was none yet.
    fn interface(&mut self, name: &str) -> (u32, Vec<u8>) {
        if let Some(number) = self.interfaces.iter().position(|known| known == name) {
            return (number as u32, Vec::new());
        }
        self.interfaces.push(name.to_owned());
        let mut body = Vec::new();
        body.extend(link_type(self.link).to_ne_bytes());
        body.extend(0_u16.to_ne_bytes());
        body.extend(self.snap.to_ne_bytes());
        options(&mut body, &[(NAME, name.as_bytes()), (RESOLUTION, &[NANOSECONDS])]);
        (self.interfaces.len() as u32 - 1, block(INTERFACE, &body))
    }
}

/// `LINKTYPE_ETHERNET` or `LINKTYPE_RAW`.
const fn link_type(link: Link) -> u16 {
    match link {
        Link::Ethernet => 1,
        Link::Ip => 101,
    }
}

fn high(at: Duration) -> u32 {
    ((at.as_nanos() as u64) >> 32) as u32
}

fn low(at: Duration) -> u32 {
    at.as_nanos() as u32
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 12).to_ne_bytes();
    [&kind.to_ne_bytes(), &length, body, &length].concat()
}

/// Those that say something, and their end.
fn options(body: &mut Vec<u8>, all: &[(u16, &[u8])]) {
    for (code, value) in all.iter().filter(|(_, value)| !value.is_empty()) {
        // Longer ones do not fit.
        let value = &value[..value.len().min(u16::MAX.into())];
        body.extend(code.to_ne_bytes());
        body.extend((value.len() as u16).to_ne_bytes());
        padded(body, value);
    }
    body.extend([0; 4]);
}

fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a little-endian machine.
    #[cfg(target_endian = "little")]
    #[test]
    fn golden_bytes() {
        let (mut writer, section) = Writer::begin(Link::Ethernet, 256, "a");
        assert_eq!(
            section,
            [
                0x0a, 0x0d, 0x0d, 0x0a, 40, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, // version 1.0
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // no length
                4, 0, 1, 0, b'a', 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0,
            ]
        );
        let packet = Packet {
            interface: "up",
            at: Duration::new(5, 1),
            bytes: &[9, 8, 7, 6, 5],
            length: 60,
            comment: "sent",
        };
        let first = writer.packet(&packet);
        let interface = [
            1, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, // Ethernet, 256 bytes
            2, 0, 2, 0, b'u', b'p', 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0,
        ];
        let bytes = [
            6, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0xf2, 0x05, 0x2a, // 5,000,000,001 ns
            5, 0, 0, 0, 60, 0, 0, 0, 9, 8, 7, 6, 5, 0, 0, 0, // 5 of 60 bytes
            2, 0, 4, 0, 1, 0, 0, 0, 1, 0, 4, 0, b's', b'e', b'n', b't', 0, 0, 0, 0, 60, 0, 0, 0,
        ];
        assert_eq!(first, [&interface[..], &bytes].concat());
        assert_eq!(writer.packet(&packet), bytes, "an interface is described once");
        assert_eq!(
            writer.end(Duration::ZERO, 2, 1, ""),
            [
                5, 0, 0, 0, 52, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
                4, 0, 8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 52, 0, 0,
                0,
            ]
        );
    }

    #[test]
    fn without_packets_there_is_nothing_to_say() {
        let (writer, _) = Writer::begin(Link::Ip, 64, "");
        assert!(writer.end(Duration::ZERO, 0, 0, "nothing").is_empty());
    }
}
