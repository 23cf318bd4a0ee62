//! Fragments: what a node remembers of a datagram whose first part it has seen, and what its packet path hands to its
//! agent: parts that came too early, and packets that are to be cut.

use crate::hash::{FlowKey, Ports, Tuple, flow_hash};

/// Datagrams of which a node remembers the first part.
pub const MAX_DATAGRAMS: u32 = 16_384;

/// So long it does, nanoseconds: a datagram's parts are on their way at the same time.
pub const REMEMBERED: u64 = 5_000_000_000;

/// Bytes of the ring to the agent: a power of two.
pub const RING_BYTES: u32 = 1 << 20;

/// The longest frame that goes through it: that of a usual link, tagged twice, in an encapsulation.
pub const MAX_FRAME: usize = 2048 - RING_HEADER - HEAD_LEN;

/// Bytes of the kernel's own in front of each entry of the ring.
const RING_HEADER: usize = 8;

const HEAD_LEN: usize = 56;

/// `DatagramKey::protocol` of IPv6, whose parts name the protocol of what follows in them, which is not part of a
/// datagram's identity (RFC 8200).
pub const PROTOCOL_V6: u32 = 0x12c;

/// Of a tuple's protocol: it is no flow's but a datagram's.
const DATAGRAM: u8 = 0x80;

/// What the parts of one datagram have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(C)]
pub struct DatagramKey {
    /// Source address in network order; IPv4 in the lower half of the first word.
    pub source: [u64; 2],
    /// Destination address: the VIP.
    pub destination: [u64; 2],
    /// The identification that its sender gave it, as it stands in the packet.
    pub id: u32,
    /// IPv4: the protocol's number. IPv6: `PROTOCOL_V6`.
    pub protocol: u32,
}

impl DatagramKey {
    /// The keyed hash that chooses its collector and that tags are made of: never that of a flow.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self, key: &FlowKey) -> u64 {
        let ports = Ports {
            source: self.id as u16,
            destination: (self.id >> 16) as u16,
            protocol: self.protocol as u8 | DATAGRAM,
        };
        let tuple = if self.protocol == PROTOCOL_V6 {
            Tuple::V6 { source: self.source, destination: self.destination, ports }
        } else {
            Tuple::V4 { source: self.source[0] as u32, destination: self.destination[0] as u32, ports }
        };
        flow_hash(key, &tuple)
    }
}

/// What a datagram's first part says of the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Datagram {
    /// Until then (nanoseconds of the monotonic clock) it is believed.
    pub until: u64,
    /// Source port, in network order.
    pub source: u16,
    /// Destination port, in network order.
    pub destination: u16,
    /// The protocol's number.
    pub protocol: u32,
}

impl Datagram {
    /// What is remembered from `now` on.
    #[inline(always)]
    #[must_use]
    pub const fn new(ports: Ports, now: u64) -> Self {
        Self {
            until: now + REMEMBERED,
            source: ports.source,
            destination: ports.destination,
            protocol: ports.protocol as u32,
        }
    }

    /// The ports, if they are still believed.
    #[inline(always)]
    #[must_use]
    pub const fn ports(&self, now: u64) -> Option<Ports> {
        if now >= self.until {
            return None;
        }
        Some(Ports { source: self.source, destination: self.destination, protocol: self.protocol as u8 })
    }
}

/// What the agent is told of a frame that it gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Head {
    /// The datagram that it is a part of; zeros if it is to be cut.
    pub datagram: DatagramKey,
    /// The interface that it came in on.
    pub interface: u32,
    /// Its length, bytes.
    pub len: u32,
    /// The longest IP packet that it may be cut into, bytes; 0: it is to be held until the first part has come.
    pub room: u16,
    /// Where its IP header begins, if it is to be cut.
    pub start: u16,
    /// Always 0.
    pub zero: u32,
}

/// An entry of the ring.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Handed {
    /// What the agent is told.
    pub head: Head,
    /// The frame, then whatever was there before.
    pub frame: [u8; MAX_FRAME],
}

const _: () = {
    assert!(size_of::<DatagramKey>() == 2 * 16 + 2 * 4);
    assert!(size_of::<Datagram>() == 8 + 2 * 2 + 4);
    assert!(size_of::<Head>() == HEAD_LEN);
    assert!(size_of::<Handed>() == 2048 - RING_HEADER);
};

impl Head {
    /// Head and frame of an entry; `None` if these bytes are none.
    #[must_use]
    pub fn read(entry: &[u8]) -> Option<(Self, &[u8])> {
        let (head, frame) = entry.split_at_checked(HEAD_LEN)?;
        let word = |at: usize| Some(u64::from_ne_bytes(head.get(at..at + 8)?.try_into().ok()?));
        let half = |at: usize| Some(u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let short = |at: usize| Some(u16::from_ne_bytes(head.get(at..at + 2)?.try_into().ok()?));
        let head = Self {
            datagram: DatagramKey {
                source: [word(0)?, word(8)?],
                destination: [word(16)?, word(24)?],
                id: half(32)?,
                protocol: half(36)?,
            },
            interface: half(40)?,
            len: half(44)?,
            room: short(48)?,
            start: short(50)?,
            zero: half(52)?,
        };
        Some((head, frame.get(..head.len as usize)?))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::hash::GOLDEN_KEY as KEY;
    use std::vec::Vec;

    #[test]
    fn an_entry_is_read_as_it_lies_there() {
        let mut entry: Vec<u8> = (0..2040_u16).map(|byte| byte as u8).collect();
        entry[44..48].copy_from_slice(&60_u32.to_ne_bytes());
        let (head, frame) = Head::read(&entry).expect("an entry");
        assert_eq!(head.datagram.source[0], u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(head.datagram.protocol, u32::from_ne_bytes([36, 37, 38, 39]));
        assert_eq!((head.interface, head.start), (u32::from_ne_bytes([40, 41, 42, 43]), 0x3332));
        assert_eq!(frame, &entry[56..116]);
        entry[44..48].copy_from_slice(&(MAX_FRAME as u32 + 1).to_ne_bytes());
        assert!(Head::read(&entry).is_none(), "longer than there is room");
        assert!(Head::read(&entry[..40]).is_none());
    }

    #[test]
    fn a_datagrams_hash_is_no_flows() {
        let v4 = DatagramKey { source: [1, 0], destination: [2, 0], id: 0x0102, protocol: 6 };
        let ports = Ports { source: 0x0102, destination: 0, protocol: 6 };
        let flow = Tuple::V4 { source: 1, destination: 2, ports };
        assert_ne!(v4.hash(&KEY), flow_hash(&KEY, &flow));
        assert_ne!(v4.hash(&KEY), DatagramKey { id: 0x0103, ..v4 }.hash(&KEY));
        let v6 = DatagramKey { protocol: PROTOCOL_V6, ..v4 };
        assert_ne!(v6.hash(&KEY), DatagramKey { id: 0x1_0102, ..v6 }.hash(&KEY));
    }

    #[test]
    fn ports_are_believed_for_a_while() {
        let ports = Ports { source: 1, destination: 2, protocol: 17 };
        let datagram = Datagram::new(ports, 7);
        assert_eq!(datagram.ports(7 + REMEMBERED - 1), Some(ports));
        assert_eq!(datagram.ports(7 + REMEMBERED), None);
    }
}
