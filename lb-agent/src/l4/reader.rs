//! Reads counters from the pinned maps, beside the packet path that writes them: for scrapes, which must not
//! wait for it, and for looking at a node whose agent is gone.

use std::collections::BTreeMap;

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use lb_common::map::{Traffic, name};
use lb_common::service_table::{ServiceKey4, ServiceKey6};

use super::L4Error;
use super::counters::{self, Counters};
use super::pins::Pins;
use super::service_table::ServiceTable;
use super::wanted::{Key, MapKey, map_key};
use crate::model::ServiceAddress;

/// The maps that hold counters, and those that tell what they count.
pub struct Reader {
    services4: ServiceTable<ServiceKey4>,
    services6: ServiceTable<ServiceKey6>,
    verdicts: PerCpuArray<MapData, u64>,
    traffic: PerCpuArray<MapData, Traffic>,
}

impl Reader {
    /// Opens the maps that an agent pinned.
    ///
    /// # Errors
    /// `L4Error::Map` for one that is not there or that this user must not read.
    pub fn open(pins: &Pins) -> Result<Self, L4Error> {
        Ok(Self {
            services4: open(pins, name::SERVICES4, |map| {
                ServiceTable::new(name::SERVICES4, Map::Array(map))
            })?,
            services6: open(pins, name::SERVICES6, |map| {
                ServiceTable::new(name::SERVICES6, Map::Array(map))
            })?,
            verdicts: open(pins, name::VERDICTS, |map| Map::PerCpuArray(map).try_into())?,
            traffic: open(pins, name::TRAFFIC, |map| Map::PerCpuArray(map).try_into())?,
        })
    }

    /// The counters of this moment, of those of `services` that the kernel knows. They are not stopped for it:
    /// a packet may be in one and not yet in another. The tables are asked for each service and not walked: they
    /// have many thousand buckets, most of them empty.
    ///
    /// # Errors
    /// `L4Error::Map` if the kernel does not answer.
    pub fn read<'s>(
        &self,
        services: impl IntoIterator<Item = &'s ServiceAddress>,
    ) -> Result<Counters, L4Error> {
        let mut traffic = BTreeMap::new();
        for &address in services {
            let service = match map_key(&Key::Service(address)) {
                MapKey::V4(key) => self.services4.get(key)?,
                MapKey::V6(key) => self.services6.get(key)?,
            };
            if let Some(service) = service {
                traffic.insert(address, counters::read_traffic(&self.traffic, service.index)?);
            }
        }
        Ok(Counters { verdicts: counters::read_verdicts(&self.verdicts)?, services: traffic })
    }
}

fn open<T>(
    pins: &Pins,
    name: &'static str,
    open: impl FnOnce(MapData) -> Result<T, MapError>,
) -> Result<T, L4Error> {
    MapData::from_pin(pins.map(name)).and_then(open).map_err(L4Error::map(name))
}
