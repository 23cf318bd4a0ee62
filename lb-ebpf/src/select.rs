//! Which member owns a flow.

use lb_common::map::{Member, member};
use lb_common::row::{Row, bucket};
use lb_common::verdict::DropReason;

use crate::access::opaque;
use crate::frame::Maps;

/// The row of a flow in a table: never without an opener.
#[inline(always)]
pub(crate) fn row(maps: &impl Maps, table: u32, flow_hash: u64) -> Result<Row, DropReason> {
    let head = maps.table(table).ok_or(DropReason::NoMember)?;
    match maps.row(head.slot, opaque(bucket(flow_hash) as usize)) {
        Some(row) if row.opener() != 0 => Ok(row),
        _ => Err(DropReason::NoMember),
    }
}

/// The way to the row's opener.
#[inline(always)]
pub(crate) fn opener<M: Maps>(maps: &M, row: Row) -> Result<&Member, DropReason> {
    match maps.member(row.opener()) {
        Some(found) if found.flags & member::KNOWN != 0 => {
            if found.flags & member::REACHABLE == 0 {
                return Err(DropReason::NoNextHop);
            }
            Ok(found)
        }
        _ => Err(DropReason::UnknownMember),
    }
}
