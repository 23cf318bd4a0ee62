//! The link layer: Ethernet with up to two VLAN tags (802.1Q, QinQ), which a packet keeps on its way.

use lb_common::map::Member;

use crate::access::Window;
use crate::frame::Frame;

/// Ethertypes in network order, as loaded.
pub(crate) const IPV4: u16 = 0x0800_u16.to_be();
pub(crate) const IPV6: u16 = 0x86dd_u16.to_be();
const VLAN: u16 = 0x8100_u16.to_be();
const QINQ: u16 = 0x88a8_u16.to_be();

/// In the first byte of a MAC address: more than one host has it.
const GROUP: u32 = 1;

const UNTAGGED_LEN: usize = 14;
const TAG_LEN: usize = 4;

/// Destination and source as they lie at a frame's start: in words, for byte by byte they would cost as much as an IP
/// header.
#[derive(Clone, Copy)]
pub(crate) struct Addresses([u32; 3]);

impl Addresses {
    /// Bytes of both.
    pub(crate) const LEN: usize = 12;

    /// A frame's.
    #[inline(always)]
    pub(crate) fn of(frame: &impl Frame) -> Option<Self> {
        Some(Self(Window::<{ Self::LEN }>::new(frame, 0)?.load::<[u32; 3], 0>()))
    }

    /// Of a frame to a member.
    #[inline(always)]
    pub(crate) fn to(member: &Member) -> Self {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (member.next_hop, member.source);
        Self([[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_ne_bytes))
    }

    /// Those of an answer; `None` if one is a group's.
    #[inline(always)]
    pub(crate) fn turned(self) -> Option<Self> {
        let [first, middle, last] = self.0;
        if (first | middle >> 16) & GROUP != 0 {
            return None;
        }
        Some(Self([middle >> 16 | last << 16, last >> 16 | first << 16, first >> 16 | middle << 16]))
    }

    /// Writes them at a frame's start.
    #[inline(always)]
    pub(crate) fn write(self, frame: &impl Frame) -> Option<()> {
        Window::<{ Self::LEN }>::new(frame, 0)?.store::<[u32; 3], 0>(self.0);
        Some(())
    }
}

/// A frame's tags, each with the ethertype that says it is one.
#[derive(Clone, Copy)]
enum Tags {
    None,
    One(u32),
    Two(u32, u32),
}

/// A frame's link header.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    tags: Tags,
    /// What follows it, in network order.
    pub(crate) ethertype: u16,
}

impl Link {
    /// The header at the frame's start; `None` if it is cut short. With more than two tags the ethertype is
    /// that of the third, which is no IP packet to us.
    #[inline(always)]
    pub(crate) fn parse(frame: &impl Frame) -> Option<Self> {
        let ethertype = Window::<UNTAGGED_LEN>::new(frame, 0)?.load::<u16, 12>();
        if !is_tag(ethertype) {
            return Some(Self { tags: Tags::None, ethertype });
        }
        let window = Window::<{ UNTAGGED_LEN + TAG_LEN }>::new(frame, 0)?;
        let (outer, ethertype) = (window.load::<u32, 12>(), window.load::<u16, 16>());
        if !is_tag(ethertype) {
            return Some(Self { tags: Tags::One(outer), ethertype });
        }
        let window = Window::<{ UNTAGGED_LEN + 2 * TAG_LEN }>::new(frame, 0)?;
        let (inner, ethertype) = (window.load::<u32, 16>(), window.load::<u16, 20>());
        Some(Self { tags: Tags::Two(outer, inner), ethertype })
    }

    /// Its length in bytes: 14, 18 or 22.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        match self.tags {
            Tags::None => UNTAGGED_LEN,
            Tags::One(_) => UNTAGGED_LEN + TAG_LEN,
            Tags::Two(..) => UNTAGGED_LEN + 2 * TAG_LEN,
        }
    }

    /// Writes it at the frame's start with other addresses and another ethertype, tags kept.
    #[inline(always)]
    pub(crate) fn write(&self, frame: &mut impl Frame, addresses: Addresses, ethertype: u16) -> Option<()> {
        let window = Window::<UNTAGGED_LEN>::new(frame, 0)?;
        window.store::<[u32; 3], 0>(addresses.0);
        match self.tags {
            Tags::None => window.store::<u16, 12>(ethertype),
            Tags::One(tag) => {
                let window = Window::<{ UNTAGGED_LEN + TAG_LEN }>::new(frame, 0)?;
                window.store::<u32, 12>(tag);
                window.store::<u16, 16>(ethertype);
            }
            Tags::Two(outer, inner) => {
                let window = Window::<{ UNTAGGED_LEN + 2 * TAG_LEN }>::new(frame, 0)?;
                window.store::<u32, 12>(outer);
                window.store::<u32, 16>(inner);
                window.store::<u16, 20>(ethertype);
            }
        }
        Some(())
    }
}

#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    ethertype == VLAN || ethertype == QINQ
}
