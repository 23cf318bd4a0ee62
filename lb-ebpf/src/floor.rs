//! What a first hop costs at the least: parse and encapsulate with constants, no look-up, no hash, no tag.
//! Benchmarks subtract it.

use lb_common::encap::{Chain, DEFAULT_PORT, Header, INNER_V4};
use lb_common::hash::{FlowKey, KEY_WORDS};
use lb_common::map::{Config, Member, config, member};
use lb_common::row::Row;

use crate::encap;
use crate::frame::{Action, Frame};
use crate::ip::{Family, Transport, V4, V6};
use crate::link::{IPV4, IPV6, Link};

const CONFIG: Config = Config {
    key: FlowKey::new([0; KEY_WORDS]),
    other: FlowKey::new([0; KEY_WORDS]),
    local_v4: u32::from_ne_bytes([198, 51, 100, 11]),
    local_v6: [0; 2],
    cluster: 0,
    member: 1,
    port: DEFAULT_PORT.to_be(),
    flags: config::READY,
};

const TO: Member = Member {
    address: [u64::from_ne_bytes([198, 51, 100, 12, 0, 0, 0, 0]), 0],
    next_hop: [2, 0, 0, 0, 0, 2],
    source: [2, 0, 0, 0, 0, 1],
    ifindex: 1,
    mtu: 1500,
    flags: member::KNOWN | member::REACHABLE,
    zero: 0,
};

const HASH: u64 = 0x0123_4567_89ab_cdef;

const HEADER: Header = Header::new(INNER_V4, Chain::to_opener(Row::of(2)), 0, &CONFIG.key, HASH);

/// Encapsulates every TCP or UDP packet to one fixed member.
#[inline(always)]
pub fn encapsulate(frame: &mut impl Frame) -> Action {
    let sent = match Link::parse(frame) {
        Some(link) if link.ethertype == IPV4 => send::<V4>(frame, &link),
        Some(link) if link.ethertype == IPV6 => send::<V6>(frame, &link),
        _ => None,
    };
    sent.unwrap_or(Action::Pass)
}

#[inline(always)]
fn send<F: Family>(frame: &mut impl Frame, link: &Link) -> Option<Action> {
    let packet = F::parse(frame, link.len())?;
    let Transport::Flow(_) = packet.transport else { return None };
    if packet.len > encap::room(&TO) {
        return None;
    }
    encap::send(frame, link, &packet, &CONFIG, &TO, HEADER, HASH).ok()
}
