//! The program that takes the packet path's place while somebody captures, on single packets.

use anyhow::{Context, Result};
use aya::maps::{Array, PerCpuArray, RingBuf};
use lb_common::capture::{Filter, Slot};
use lb_common::map::{name, program};

use super::{Kernel, Outcome};

impl Kernel {
    /// What is captured from now on.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_filter(&mut self, filter: Filter) -> Result<()> {
        let map = self.object.map_mut(name::CAPTURE).context("no map of the filter")?;
        Ok(Array::<_, Filter>::try_from(map)?.set(0, filter, 0)?)
    }

    /// Gives a packet to the program that captures.
    ///
    /// # Errors
    /// If the kernel refuses to load or to run it.
    pub fn run_capturing(&mut self, frame: &[u8]) -> Result<Outcome> {
        self.run_program(program::CAPTURE, frame)
    }

    /// Gives it to the same for packets that the agent gives back.
    ///
    /// # Errors
    /// If the kernel refuses to load or to run it.
    pub fn run_given_capturing(&mut self, frame: &[u8]) -> Result<Outcome> {
        self.run_program(program::CAPTURE_GIVEN, frame)
    }

    /// The records that were told since it was asked last.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn records(&mut self) -> Result<Vec<Vec<u8>>> {
        let map = self.object.map_mut(name::CAPTURED).context("no ring buffer")?;
        let mut ring = RingBuf::try_from(map)?;
        let mut records = Vec::new();
        while let Some(record) = ring.next() {
            records.push(record.to_vec());
        }
        Ok(records)
    }

    /// Records for which there was no room.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn lost_records(&self) -> Result<u64> {
        let map = self.object.map(name::CAPTURE_SLOT).context("no map of slots")?;
        let slots = PerCpuArray::<_, Slot>::try_from(map)?.get(&0, 0)?;
        Ok(slots.iter().map(|slot| slot.lost).sum())
    }

    /// Whether a program has to do with any of these maps.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn uses(&mut self, program: &str, maps: &[&str]) -> Result<bool> {
        let used =
            self.program(program)?.info()?.map_ids()?.context("the kernel does not tell a program's maps")?;
        let ids = maps.iter().map(|name| id(self.object.map(name).context("no such map")?));
        Ok(ids.collect::<Result<Vec<_>>>()?.iter().any(|id| used.contains(id)))
    }
}

fn id(map: &aya::maps::Map) -> Result<u32> {
    use aya::maps::Map;
    let (Map::Array(data) | Map::PerCpuArray(data) | Map::RingBuf(data)) = map else {
        anyhow::bail!("a map of another kind");
    };
    Ok(data.info()?.id())
}
