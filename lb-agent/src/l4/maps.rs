//! The maps, opened with their types: names and layouts come from `lb-common`.

use std::os::fd::AsRawFd;

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, SockMap};
use lb_common::map::{Config, Member, Rows, Service, TableHead, Traffic, name};
use lb_common::service_table::{ServiceKey4, ServiceKey6};

use super::L4Error;
use super::service_table::ServiceTable;
use super::wanted::{Key, MapKey, map_key};

/// Every map of the packet path.
pub struct Maps {
    pub(crate) config: Array<MapData, Config>,
    pub(crate) services4: ServiceTable<ServiceKey4>,
    pub(crate) services6: ServiceTable<ServiceKey6>,
    pub(crate) tables: Array<MapData, TableHead>,
    pub(crate) rows: Array<MapData, Rows>,
    pub(crate) members: Array<MapData, Member>,
    pub(crate) verdicts: PerCpuArray<MapData, u64>,
    pub(crate) traffic: PerCpuArray<MapData, Traffic>,
    listeners: SockMap<MapData>,
}

impl Maps {
    /// Takes the maps out of a loaded object.
    ///
    /// # Errors
    /// `L4Error::Map` if the object lacks one or it has another layout.
    pub fn take(object: &mut Ebpf) -> Result<Self, L4Error> {
        Ok(Self {
            config: take(object, name::CONFIG)?,
            services4: with(object, name::SERVICES4, |map| ServiceTable::new(name::SERVICES4, map))?,
            services6: with(object, name::SERVICES6, |map| ServiceTable::new(name::SERVICES6, map))?,
            tables: take(object, name::TABLES)?,
            rows: take(object, name::ROWS)?,
            members: take(object, name::MEMBERS)?,
            verdicts: take(object, name::VERDICTS)?,
            traffic: take(object, name::TRAFFIC)?,
            listeners: take(object, name::LISTENERS)?,
        })
    }

    /// Has connections to VIPs go to a listening socket: that of the family that `index` stands for.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn steer_to(&mut self, index: u32, socket: &impl AsRawFd) -> Result<(), L4Error> {
        self.listeners.set(index, socket, 0).map_err(L4Error::map(name::LISTENERS))
    }

    /// What stands at a key of the service tables.
    pub(crate) fn service(&self, key: &Key) -> Result<Option<Service>, L4Error> {
        match map_key(key) {
            MapKey::V4(key) => self.services4.get(key),
            MapKey::V6(key) => self.services6.get(key),
        }
    }
}

/// One map of a loaded object.
pub(super) fn take<T: TryFrom<Map, Error = MapError>>(
    object: &mut Ebpf,
    name: &'static str,
) -> Result<T, L4Error> {
    with(object, name, T::try_from)
}

fn with<T>(
    object: &mut Ebpf,
    name: &'static str,
    open: impl FnOnce(Map) -> Result<T, MapError>,
) -> Result<T, L4Error> {
    let map = object.take_map(name).ok_or(MapError::InvalidName { name: name.to_owned() });
    map.and_then(open).map_err(L4Error::map(name))
}
