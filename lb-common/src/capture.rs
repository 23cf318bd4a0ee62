//! What is captured: the filter that user space sets, and the record of a packet that the kernel gives for it.

use core::mem::offset_of;

/// Bytes that are kept of a packet at most: a whole one of any usual MTU.
pub const MAX_SNAP: usize = 2048;

/// Bytes that are kept of what becomes of it: link header with two tags, outer headers and ours.
pub const HEAD: usize = 128;

/// Which packets are captured. A packet that came encapsulated is one of the filter if it is so itself or what it
/// carries is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Filter {
    /// Source addresses: their common bits, in network order as `Member::address` has them.
    pub source: [u64; 2],
    /// Which bits these are.
    pub source_mask: [u64; 2],
    /// As `source`.
    pub destination: [u64; 2],
    /// As `source_mask`.
    pub destination_mask: [u64; 2],
    /// Verdicts: bit `Verdict::counter` of each.
    pub verdicts: u64,
    /// So many packets in all.
    pub count: u64,
    /// Of those that match, one in so many on each CPU; not 0.
    pub sample: u32,
    /// So many bytes of each, at most `MAX_SNAP`.
    pub snap: u32,
    /// Source port in network order; 0 for any.
    pub source_port: u16,
    /// Destination port in network order; 0 for any.
    pub destination_port: u16,
    /// `family::*`.
    pub family: u16,
    /// IP protocol, `ICMP` for that of either family; 0 for any.
    pub protocol: u16,
}

/// Values of `Filter::family`.
pub mod family {
    /// Either.
    pub const ANY: u16 = 0;
    /// IPv4.
    pub const V4: u16 = 4;
    /// IPv6.
    pub const V6: u16 = 6;
}

/// The protocol number of ICMP, in `Filter::protocol` that of ICMPv6, too.
pub const ICMP: u16 = 1;

impl Filter {
    /// Whether it says nothing of a packet's headers: frames of all kinds match.
    #[inline(always)]
    #[must_use]
    pub const fn is_open(&self) -> bool {
        let any = self.source_port | self.destination_port | self.family | self.protocol;
        any == 0
    }

    /// Whether a verdict is wanted.
    #[inline(always)]
    #[must_use]
    pub const fn wants(&self, counter: u32) -> bool {
        self.verdicts >> (counter & 63) & 1 == 1
    }
}

/// What became of one packet. A record that comes from the kernel ends with the last byte of `packet` that was kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Record {
    /// When it came in, nanoseconds of the monotonic clock.
    pub at: u64,
    /// The interface that it came in on.
    pub interface: u32,
    /// `Verdict::counter`.
    pub verdict: u32,
    /// The frame's length as it came in.
    pub length: u32,
    /// So many bytes of it are in `packet`.
    pub kept: u32,
    /// So many bytes of what the node sends are in `head`; 0 if it sends nothing.
    pub sent: u32,
    /// Always 0.
    pub zero: u32,
    /// The start of the frame that the node sends.
    pub head: [u8; HEAD],
    /// The start of the frame as it came in.
    pub packet: [u8; MAX_SNAP],
}

/// Where a record's packet begins: all before it is always there.
pub const PACKET: usize = offset_of!(Record, packet);

/// A CPU's room for the record that it works on, and what it counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Slot {
    /// Packets that matched.
    pub matched: u64,
    /// Records that were made.
    pub made: u64,
    /// Records that found no room in the ring buffer.
    pub lost: u64,
    /// The record.
    pub record: Record,
}

// As for the other maps' values: each size is the sum of its fields.
const _: () = {
    assert!(size_of::<Filter>() == 8 * 8 + 2 * 8 + 2 * 4 + 4 * 2);
    assert!(size_of::<Record>() == PACKET + MAX_SNAP && PACKET == 8 + 6 * 4 + HEAD);
    assert!(size_of::<Slot>() == 3 * 8 + size_of::<Record>());
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{COUNTERS, DropReason, Verdict};

    #[test]
    fn a_filter_wants_the_verdicts_that_it_names() {
        let drop = Verdict::Drop(DropReason::BadTag).counter();
        let filter = Filter { verdicts: 1 << drop | 1, ..Filter::default() };
        let wanted = (0..COUNTERS).filter(|&counter| filter.wants(counter));
        assert!(wanted.eq([0, drop]));
    }

    #[test]
    fn a_filter_is_open_until_it_says_something() {
        let open = Filter { verdicts: 1, snap: 64, sample: 3, count: 9, ..Filter::default() };
        assert!(open.is_open());
        for filter in [
            Filter { family: family::V6, ..open },
            Filter { protocol: ICMP, ..open },
            Filter { source_port: 1, ..open },
            Filter { destination_port: 1, ..open },
        ] {
            assert!(!filter.is_open(), "{filter:?}");
        }
    }
}
