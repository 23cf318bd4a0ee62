//! Which members may own a flow, and which of them gets a packet.

use lb_common::encap::{Chain, PackedChain};
use lb_common::map::{Config, Member, member};
use lb_common::row::{MemberId, NO_MEMBER, Row, bucket};
use lb_common::verdict::{Counter, DropReason, Verdict};

use crate::access::opaque;
use crate::frame::{Frame, Maps};
use crate::walk::{Next, Walk};

/// What comes next for a packet.
pub(crate) enum Step<'m> {
    /// It stays here: it is this node's, or lost.
    Stay(Counter),
    /// It goes to the member at the chain's hop.
    Send(PackedChain, &'m Member),
}

/// The row of a flow in a table: never without an opener.
#[inline(always)]
pub(crate) fn row(maps: &impl Maps, table: u32, flow_hash: u64) -> Result<Row, DropReason> {
    let head = maps.table(table).ok_or(DropReason::NoMember)?;
    match maps.row(head.slot, opaque(bucket(flow_hash) as usize)) {
        Some(row) if row.opener() != 0 => Ok(row),
        _ => Err(DropReason::NoMember),
    }
}

/// Whether a packet that names `id` can be taken at its word.
#[inline(always)]
pub(crate) fn is_known(maps: &impl Maps, config: &Config, id: MemberId) -> bool {
    id != NO_MEMBER
        && (id == config.member || maps.member(id).is_some_and(|found| found.flags & member::KNOWN != 0))
}

/// The step in a row of one member, as nearly all are: nobody has to be asked.
#[inline(always)]
pub(crate) fn alone<'m, M: Maps>(maps: &'m M, config: &Config, row: Row) -> Result<Step<'m>, DropReason> {
    if row.opener() == config.member {
        return Ok(Step::Stay(Verdict::DeliveredFirstHop.into()));
    }
    Ok(Step::Send(Chain::to_opener(row).packed(), way(maps, row.opener())?))
}

/// The step in a row of several members.
#[inline(always)]
pub(crate) fn among<'m, M: Maps>(
    frame: &impl Frame,
    maps: &'m M,
    walk: &Walk,
) -> Result<Step<'m>, DropReason> {
    to(maps, frame.walk(walk))
}

/// The step that a walk comes to.
#[inline(always)]
pub(crate) fn to<M: Maps>(maps: &M, next: Next) -> Result<Step<'_>, DropReason> {
    match next.chain() {
        Ok(chain) => {
            // The walk has just looked at it.
            let to = maps.member(chain.target()).ok_or(DropReason::UnknownMember)?;
            Ok(Step::Send(chain, to))
        }
        Err(counter) => Ok(Step::Stay(counter)),
    }
}

/// The way to a member.
#[inline(always)]
pub(crate) fn way<M: Maps>(maps: &M, id: MemberId) -> Result<&Member, DropReason> {
    match maps.member(id) {
        Some(found) if found.flags & member::KNOWN != 0 => {
            if found.flags & member::REACHABLE == 0 {
                return Err(DropReason::NoNextHop);
            }
            Ok(found)
        }
        _ => Err(DropReason::UnknownMember),
    }
}
