//! QUIC: the member that a datagram's destination connection ID names. Only what all versions of QUIC have in common
//! is looked at (RFC 8999).

use lb_common::map::{Service, service};
use lb_common::quic::{ConnectionId, ID_LEN};
use lb_common::row::{MemberId, NO_MEMBER};

use crate::access::Window;
use crate::flow::Flow;
use crate::frame::{Frame, Maps};
use crate::ip::{Family, Packet};
use crate::keys::has_two;
use crate::walk::MAX_OFFSET;

const UDP_LEN: usize = 8;

/// Set in the first byte of a long header.
const LONG: u8 = 0x80;

/// Where a short header's connection ID begins.
const SHORT_ID: usize = 1;

/// Where a long header, behind first byte and version, has the length of its connection ID, and then that.
const LONG_ID_LEN: usize = 5;

/// Where a datagram's payload begins and ends, from the frame's start.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    /// Its first byte.
    pub start: u32,
    /// Behind its last one.
    pub end: u32,
}

/// The member that `payload` names; `NO_MEMBER` if its connection ID is none of ours, as a client's first one is not.
#[inline(always)]
#[must_use]
pub fn named(frame: &impl Frame, maps: &impl Maps, payload: Payload) -> MemberId {
    let Some((id, config)) = find(frame, payload).zip(maps.config()) else { return NO_MEMBER };
    match id.member(&config.key) {
        NO_MEMBER if has_two(config) => id.member(&config.other),
        member => member,
    }
}

#[inline(always)]
fn find(frame: &impl Frame, Payload { start, end }: Payload) -> Option<ConnectionId> {
    let start = usize::from(start as u16 & MAX_OFFSET);
    let first = Window::<1>::new(frame, start)?.load::<u8, 0>();
    let id = if first & LONG == 0 {
        start + SHORT_ID
    } else {
        let header = Window::<{ LONG_ID_LEN + 1 }>::new(frame, start)?;
        if usize::from(header.load::<u8, LONG_ID_LEN>()) != ID_LEN {
            return None;
        }
        start + LONG_ID_LEN + 1
    };
    if id + ID_LEN > end as usize {
        return None;
    }
    let words = Window::<ID_LEN>::new(frame, id)?.load::<[u64; 2], 0>();
    Some(ConnectionId(words.map(u64::from_le)))
}

/// The member that a client's packet for `to` names.
#[inline(always)]
pub(crate) fn of_service<F: Family>(
    frame: &impl Frame,
    offset: usize,
    packet: &Packet<F>,
    flow: &Flow<F>,
    to: &Service,
) -> MemberId {
    if to.flags & service::QUIC == 0 {
        return NO_MEMBER;
    }
    of_flow(frame, offset, packet, flow)
}

/// The member that the UDP packet at `offset` names. What an ICMP error quotes was sent to its client, and names nobody.
#[inline(always)]
pub(crate) fn of_flow<F: Family>(
    frame: &impl Frame,
    offset: usize,
    packet: &Packet<F>,
    flow: &Flow<F>,
) -> MemberId {
    let Some(transport) = flow.transport else { return NO_MEMBER };
    let end = offset + usize::from(packet.len);
    frame.named(Payload { start: (transport + UDP_LEN) as u32, end: end as u32 })
}
