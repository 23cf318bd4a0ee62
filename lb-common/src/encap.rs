//! The wire format between first hop and member: UDP, GUE variant 0 (draft-ietf-intarea-gue), 16 bytes of
//! private data, then the client's IP packet. Final from the first version on: golden bytes below.
//!
//! ```text
//!  0               1               2               3
//! +-------+-+-----+---------------+-------------------------------+
//! |0 0|0|hlen = 4 | proto (4, 41) |  flags = 0                    |  GUE
//! +-------+-+-----+---------------+-------------------------------+
//! |version|c|d|st |      hop      |  opener (member id)           |  private data
//! +-------+-+-+---+---------------+-------------------------------+
//! |  previous (member id)         |  before that (member id)      |
//! +-------------------------------+-------------------------------+
//! |  cluster id                                                   |
//! +---------------------------------------------------------------+
//! |  tag: keyed, over the twelve bytes above and the inner tuple  |
//! +---------------------------------------------------------------+
//! ```
//!
//! A fragment's inner tuple is that of its datagram: addresses and identification (`fragment::DatagramKey`). With `c` its
//! collector has seen it; without, it is on its way there. `d` is the direction, `st` counts stand-ins (`Chain`).

use crate::hash::{self, FlowKey};

pub use crate::chain::{Chain, Direction, PackedChain};

/// The UDP port that members listen on, unless configured otherwise.
pub const DEFAULT_PORT: u16 = 6080;

/// This version of the private data.
pub const VERSION: u8 = 1;

/// Bytes of the GUE header with its private data.
pub const HEADER_LEN: usize = 4 + 16;

/// Bytes that encapsulation adds with an IPv4 outer header.
pub const OVERHEAD_V4: usize = 20 + 8 + HEADER_LEN;

/// Bytes that encapsulation adds with an IPv6 outer header.
pub const OVERHEAD_V6: usize = 40 + 8 + HEADER_LEN;

/// GUE protocol number of an inner IPv4 packet (IANA: IP-in-IP).
pub const INNER_V4: u8 = 4;

/// GUE protocol number of an inner IPv6 packet (IANA: IPv6 encapsulation).
pub const INNER_V6: u8 = 41;

/// First byte of the GUE header: variant 0, data message, 4 words of private data.
const GUE_FIRST: u8 = 4;

/// The first bit of the outer source port: with it set, the port is in IANA's dynamic range.
const ENTROPY_BASE: u16 = 0xc000;

/// Why a header is not one of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// Not a GUE variant 0 data message with 16 bytes of private data and an IP packet inside.
    NotGue,
    /// Private data of another version.
    Version,
}

/// The GUE header with its private data as it lies in the packet: words, and aligned like words, or the compiler would
/// read and write each byte by itself, which takes longer than all else that a first hop writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, packed(4))]
pub struct Header {
    gue: u32,
    chain: u64,
    cluster: u32,
    tag: u32,
}

const _: () = assert!(size_of::<Header>() == HEADER_LEN);

impl Header {
    /// The header for `chain`, with its tag.
    #[inline(always)]
    #[must_use]
    pub const fn new(inner: u8, chain: Chain, cluster: u32, key: &FlowKey, flow_hash: u64) -> Self {
        Self::packed(inner, chain.packed(), cluster, key, flow_hash)
    }

    /// The same for a packed chain.
    #[inline(always)]
    #[must_use]
    pub const fn packed(
        inner: u8,
        PackedChain(word): PackedChain,
        cluster: u32,
        key: &FlowKey,
        flow_hash: u64,
    ) -> Self {
        Self {
            gue: u32::from_ne_bytes([GUE_FIRST, inner, 0, 0]),
            chain: word.to_le(),
            cluster: cluster.to_be(),
            tag: hash::tag(key, flow_hash, word, cluster).to_be(),
        }
    }

    /// The header that these bytes of a packet are, right or not.
    #[must_use]
    pub fn from_bytes(bytes: [u8; HEADER_LEN]) -> Self {
        let [g0, g1, g2, g3, c0, c1, c2, c3, c4, c5, c6, c7, cluster @ .., t0, t1, t2, t3] = bytes;
        let chain = u64::from_ne_bytes([c0, c1, c2, c3, c4, c5, c6, c7]);
        let word = u32::from_ne_bytes;
        Self { gue: word([g0, g1, g2, g3]), chain, cluster: word(cluster), tag: word([t0, t1, t2, t3]) }
    }

    /// The header as it goes over the wire.
    #[must_use]
    pub fn bytes(&self) -> [u8; HEADER_LEN] {
        let Self { gue, chain, cluster, tag } = *self;
        let mut all = [0; HEADER_LEN];
        all[..4].copy_from_slice(&gue.to_ne_bytes());
        all[4..12].copy_from_slice(&chain.to_ne_bytes());
        all[12..16].copy_from_slice(&cluster.to_ne_bytes());
        all[16..].copy_from_slice(&tag.to_ne_bytes());
        all
    }

    /// The GUE protocol number of the inner packet: `INNER_V4` or `INNER_V6`.
    ///
    /// # Errors
    /// `HeaderError` if this is no header that this version writes.
    #[inline(always)]
    pub const fn inner(&self) -> Result<u8, HeaderError> {
        let [first, inner, flags_high, flags_low] = self.gue.to_ne_bytes();
        if first != GUE_FIRST || flags_high | flags_low != 0 || (inner != INNER_V4 && inner != INNER_V6) {
            return Err(HeaderError::NotGue);
        }
        if self.packed_chain().version() != VERSION {
            return Err(HeaderError::Version);
        }
        Ok(inner)
    }

    /// The chain that the packet carries.
    #[inline(always)]
    #[must_use]
    pub const fn chain(&self) -> Chain {
        self.packed_chain().unpacked()
    }

    /// The same as it lies in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn packed_chain(&self) -> PackedChain {
        PackedChain(u64::from_le(self.chain))
    }

    /// The cluster that the packet belongs to.
    #[inline(always)]
    #[must_use]
    pub const fn cluster(&self) -> u32 {
        u32::from_be(self.cluster)
    }

    /// Whether the tag is right for an inner packet with this flow hash.
    #[inline(always)]
    #[must_use]
    pub const fn is_tagged(&self, key: &FlowKey, flow_hash: u64) -> bool {
        let tag = hash::tag(key, flow_hash, u64::from_le(self.chain), self.cluster());
        u32::from_be(self.tag) == tag
    }
}

/// The outer UDP source port of a flow: entropy for RSS and ECMP (RFC 6335's dynamic range).
#[inline(always)]
#[must_use]
pub const fn source_port(flow_hash: u64) -> u16 {
    ENTROPY_BASE | (flow_hash as u16 & !ENTROPY_BASE)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::hash::GOLDEN_KEY as KEY;
    use crate::row::Row;

    #[test]
    fn golden_bytes() {
        let chain = Chain {
            row: Row::new([0x0102, 0x0304, 0x0506]),
            direction: Direction::ToOpener,
            stand_ins: 1,
            hop: 2,
        };
        let header = Header::new(INNER_V6, chain, 0x0a0b_0c0d, &KEY, 0x1122_3344_5566_7788);
        assert_eq!(
            header.bytes(),
            [
                4, 41, 0, 0, // GUE
                0x15, 2, 1, 2, 3, 4, 5, 6, // version and flags, hop, members
                0x0a, 0x0b, 0x0c, 0x0d, // cluster
                0xdb, 0x8c, 0x6a, 0xc3, // tag
            ]
        );
    }

    #[test]
    fn header_gives_back_what_it_was_made_of() {
        let chain = Chain { row: Row::new([7, 8, 9]), direction: Direction::ToOpener, stand_ins: 2, hop: 1 };
        let header = Header::new(INNER_V4, chain, 5, &KEY, 99);
        assert_eq!(header.inner(), Ok(INNER_V4));
        assert_eq!(header.chain(), chain);
        let collected = Header::packed(INNER_V4, chain.packed().collected(), 5, &KEY, 99);
        assert_eq!(collected.bytes()[4], header.bytes()[4] | 8);
        assert_ne!(collected.bytes()[16..], header.bytes()[16..], "the tag covers it");
        assert_eq!(header.chain().target(), Some(8));
        assert_eq!(header.cluster(), 5);
        assert!(header.is_tagged(&KEY, 99));
        assert!(!header.is_tagged(&KEY, 98));
        assert_eq!(Header::from_bytes(header.bytes()), header);
    }

    #[test]
    fn foreign_headers_are_refused() {
        let good = Header::new(INNER_V4, Chain::to_opener(Row::of(1)), 0, &KEY, 0);
        for (index, value, error) in [
            (0, 0x44, HeaderError::NotGue), // another variant
            (0, 0x24, HeaderError::NotGue), // a control message
            (0, 3, HeaderError::NotGue),    // shorter private data
            (1, 17, HeaderError::NotGue),   // not an IP packet
            (2, 0x80, HeaderError::NotGue), // optional fields
            (3, 1, HeaderError::NotGue),
        ] {
            let mut bytes = good.bytes();
            bytes[index] = value;
            let bad = Header::from_bytes(bytes);
            assert_eq!(bad.inner(), Err(error), "GUE byte {index} = {value:#x}");
        }
        let mut bad = good;
        bad.chain = 0x20;
        assert_eq!(bad.inner(), Err(HeaderError::Version));
    }

    #[test]
    fn source_ports_are_dynamic_ones() {
        for hash in [0, 1, 0x3fff, 0x4000, u64::MAX] {
            assert!(source_port(hash) >= 0xc000);
        }
        assert_eq!(source_port(0x1234), 0xd234);
    }
}
