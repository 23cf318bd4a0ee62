//! By which flow keys packets are looked at: by the one in force, as nearly always; or by that and another one, while one
//! takes the other's place. Both lead to rows of the same tables, so that a flow has two: whichever of the members in
//! them has it gets its packets.

use lb_common::hash::{FlowKey, Tuple, flow_hash};
use lb_common::map::{Config, config};
use lb_common::row::Row;
use lb_common::verdict::DropReason;

use crate::frame::Maps;
use crate::process::{Fate, row_in_force};

/// One way to look at packets. The packet path is compiled once for each.
pub(crate) trait Keys {
    /// Before a first hop decides: what becomes of a packet with which it cannot go on.
    ///
    /// # Errors
    /// The reason to drop it.
    fn first_hop(config: &Config) -> Result<Option<Fate>, DropReason>;

    /// The row of a flow whose hash by the key in force is `hash`.
    ///
    /// # Errors
    /// The reason to drop its packets.
    fn row(maps: &impl Maps, config: &Config, table: u32, flow: &Tuple, hash: u64)
    -> Result<Row, DropReason>;

    /// What becomes of a packet whose tag is wrong by the key in force; nothing if it is right all the same.
    ///
    /// # Errors
    /// The reason to drop it.
    fn tag(config: &Config, is_right: impl FnOnce(&FlowKey) -> bool) -> Result<Option<Fate>, DropReason>;
}

/// The key in force alone.
pub(crate) struct InForce;

impl Keys for InForce {
    /// One comparison, whatever is not as usual: what it is, `Both` says.
    #[inline(always)]
    fn first_hop(config: &Config) -> Result<Option<Fate>, DropReason> {
        let is_usual = config.flags & (config::READY | config::TWO_KEYS) == config::READY;
        Ok(if is_usual { None } else { Some(Fate::TwoKeys) })
    }

    #[inline(always)]
    fn row(
        maps: &impl Maps,
        config: &Config,
        table: u32,
        _flow: &Tuple,
        hash: u64,
    ) -> Result<Row, DropReason> {
        row_in_force(maps, config, table, hash)
    }

    #[inline(always)]
    fn tag(config: &Config, _is_right: impl FnOnce(&FlowKey) -> bool) -> Result<Option<Fate>, DropReason> {
        if has_two(config) { Ok(Some(Fate::TwoKeys)) } else { Err(DropReason::BadTag) }
    }
}

/// The key in force and, if there is one, the other.
pub(crate) struct Both;

impl Keys for Both {
    #[inline(always)]
    fn first_hop(config: &Config) -> Result<Option<Fate>, DropReason> {
        if config.flags & config::READY == 0 { Err(DropReason::NotConfigured) } else { Ok(None) }
    }

    #[inline(always)]
    fn row(
        maps: &impl Maps,
        config: &Config,
        table: u32,
        flow: &Tuple,
        hash: u64,
    ) -> Result<Row, DropReason> {
        let row = row_in_force(maps, config, table, hash)?;
        if !has_two(config) {
            return Ok(row);
        }
        let other = row_in_force(maps, config, table, flow_hash(&config.other, flow))?;
        Ok(if row == other && row.is_alone() { row } else { maps.joined(row, other) })
    }

    #[inline(always)]
    fn tag(config: &Config, is_right: impl FnOnce(&FlowKey) -> bool) -> Result<Option<Fate>, DropReason> {
        if has_two(config) && is_right(&config.other) { Ok(None) } else { Err(DropReason::BadTag) }
    }
}

#[inline(always)]
pub(crate) fn has_two(config: &Config) -> bool {
    config.flags & config::TWO_KEYS != 0
}
