//! Receiver of another member's probe: proves that it is one and for this node, and stamps it, so that an
//! answer says of the peer that its link, its XDP program and its agent work.

use lb_common::checksum;
use lb_common::encap::HeaderError;
use lb_common::map::{Config, member};
use lb_common::probe::{Kind, LEN, Message, STAMP, STAMPED, is_control};
use lb_common::row::NO_MEMBER;
use lb_common::verdict::{DropReason, Verdict};

use crate::access::Window;
use crate::frame::{Frame, Maps};
use crate::ip::{Family, Packet};
use crate::keys::Keys;
use crate::link::Link;
use crate::process::{Fate, pass};

const UDP_LEN: usize = 8;

/// Where the checksum stands in a UDP header.
const CHECKSUM: usize = 6;

/// Whether a packet of the encapsulation's port is a control message.
#[inline(always)]
pub(crate) fn is_probe<F: Family>(frame: &impl Frame, outer: &Packet<F>) -> bool {
    Window::<1>::new(frame, outer.payload + UDP_LEN).is_some_and(|gue| is_control(gue.load::<u8, 0>()))
}

/// Stamps a probe for this node; all else is dropped. Nothing that it says is believed before its tag is right.
#[inline(always)]
pub(crate) fn receive<F: Family, K: Keys>(
    frame: &mut impl Frame,
    maps: &impl Maps,
    link: &Link,
    outer: &Packet<F>,
    config: &Config,
) -> Result<Fate, DropReason> {
    // What follows is padding, of those that are sent to see whether packets of full size pass.
    if outer.payload + UDP_LEN + LEN > link.len() + usize::from(outer.len) {
        return Err(DropReason::MalformedEncap);
    }
    let window = Window::<{ UDP_LEN + LEN }>::new(frame, outer.payload).ok_or(DropReason::MalformedEncap)?;
    let message = Message::from_words(window.load::<[u64; LEN / 8], UDP_LEN>().map(u64::from_le));
    match message.kind() {
        Ok(_) => {}
        Err(HeaderError::NotGue) => return Err(DropReason::MalformedEncap),
        Err(HeaderError::Version) => return Err(DropReason::UnknownVersion),
    }
    if message.cluster() != config.cluster {
        return Err(DropReason::WrongCluster);
    }
    if !message.is_tagged(&config.key)
        && let Some(fate) = K::tag(config, |key| message.is_tagged(key))?
    {
        return Ok(fate);
    }
    // Whoever has the key asks, and is answered: a node that is no member, and one that is by a change which this node has
    // not learned yet.
    let is_known = message.is(Kind::Ask)
        || maps.member(message.from()).is_some_and(|from| from.flags & member::KNOWN != 0);
    if !is_known {
        return Err(DropReason::UnknownChain);
    }
    if message.to() != config.member || (message.to() == NO_MEMBER && !message.is(Kind::Answer)) {
        return Err(DropReason::NotMyHop);
    }
    stamp(window);
    Ok(pass(Verdict::Probe))
}

/// The kernel checks the UDP checksum, if there is one, after us.
#[inline(always)]
fn stamp(window: Window<{ UDP_LEN + LEN }>) {
    const NONE: u16 = 0;
    let stamped = u16::from_ne_bytes(STAMPED);
    let check = window.load::<u16, CHECKSUM>();
    if check != NONE {
        let updated = checksum::update(check, window.load::<u16, { UDP_LEN + STAMP }>(), stamped);
        // A sum that is zero is sent as its other form (RFC 768): zero says that there is none.
        window.store::<u16, CHECKSUM>(if updated == NONE { !NONE } else { updated });
    }
    window.store::<u16, { UDP_LEN + STAMP }>(stamped);
}
