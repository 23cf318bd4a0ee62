//! A VIP answers ping by itself: the request goes back as its reply, whichever node got it.

use lb_common::checksum;

use crate::access::Window;
use crate::frame::{Action, Frame};
use crate::ip::{Family, Packet};
use crate::link::{Addresses, Link};

/// Type, code and checksum, then the request's identifier and sequence number.
const LEN: usize = 8;

/// Sends an echo request back as its reply; `None`, and nothing is changed, if it is none that can be answered.
#[inline(always)]
pub(crate) fn answer<F: Family>(frame: &mut impl Frame, link: &Link, packet: &Packet<F>) -> Option<Action> {
    if packet.protocol != F::ICMP || packet.payload + LEN > link.len() + usize::from(packet.len) {
        return None;
    }
    let icmp = Window::<LEN>::new(frame, packet.payload)?;
    if icmp.load::<u16, 0>() != u16::from(F::ECHO_REQUEST).to_le() || !F::is_host(packet.source) {
        return None;
    }
    Addresses::of(frame)?.turned()?.write(frame)?;
    icmp.store::<u16, 0>(u16::from(F::ECHO_REPLY).to_le());
    let (request, reply) = (u16::from(F::ECHO_REQUEST).to_le(), u16::from(F::ECHO_REPLY).to_le());
    icmp.store::<u16, 2>(checksum_of(icmp.load::<u16, 2>(), request, reply, icmp.load::<u32, 4>()));
    F::turn_round(frame, link.len())?;
    Some(Action::Transmit)
}

/// Zero says of no words but zeros that their sum is right: of these the sum's other form does. (Only a reply's can
/// be: type 0, and whatever follows.)
#[inline(always)]
fn checksum_of(check: u16, request: u16, reply: u16, rest: u32) -> u16 {
    match checksum::update(check, request, reply) {
        0 if reply == 0 && rest == 0 => 0xffff,
        updated => updated,
    }
}
