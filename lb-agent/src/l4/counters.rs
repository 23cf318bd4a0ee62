//! Reads the kernel's counters.

use std::collections::BTreeMap;

use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use lb_common::map::{Traffic, name};
use lb_common::verdict::Verdict;

use super::L4Error;
use super::maps::Maps;
use crate::model::ServiceAddress;

/// The counters of one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Packets by verdict, in the order of `Verdict::all`.
    pub verdicts: Vec<(Verdict, u64)>,
    /// Traffic by service.
    pub services: BTreeMap<ServiceAddress, Traffic>,
}

/// Packets by verdict, summed over CPUs, in the order of `Verdict::all`.
///
/// # Errors
/// `L4Error::Map` if the kernel does not answer.
pub fn verdicts(maps: &Maps) -> Result<Vec<(Verdict, u64)>, L4Error> {
    read_verdicts(&maps.verdicts)
}

/// What this node saw as the first hop of one service, summed over CPUs.
///
/// # Errors
/// As `verdicts`.
pub fn traffic(maps: &Maps, index: u32) -> Result<Traffic, L4Error> {
    read_traffic(&maps.traffic, index)
}

pub(super) fn read_verdicts(map: &PerCpuArray<MapData, u64>) -> Result<Vec<(Verdict, u64)>, L4Error> {
    Verdict::all()
        .map(|verdict| {
            let values = map.get(&verdict.counter(), 0).map_err(L4Error::map(name::VERDICTS))?;
            Ok((verdict, values.iter().sum()))
        })
        .collect()
}

pub(super) fn read_traffic(map: &PerCpuArray<MapData, Traffic>, index: u32) -> Result<Traffic, L4Error> {
    let values = map.get(&index, 0).map_err(L4Error::map(name::TRAFFIC))?;
    Ok(sum(&values))
}

fn sum(values: &PerCpuValues<Traffic>) -> Traffic {
    values.iter().fold(Traffic::default(), |sum, cpu| Traffic {
        packets: sum.packets + cpu.packets,
        bytes: sum.bytes + cpu.bytes,
    })
}
