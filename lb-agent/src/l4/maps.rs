//! The maps, opened with their types: names and layouts come from `lb-common`.

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, SockMap};
use lb_common::map::{Config, Member, Rows, Service, ServiceKey4, ServiceKey6, TableHead, Traffic, name};

use super::L4Error;

/// Every map of the packet path.
pub struct Maps {
    pub(crate) config: Array<MapData, Config>,
    pub(crate) services4: HashMap<MapData, ServiceKey4, Service>,
    pub(crate) services6: HashMap<MapData, ServiceKey6, Service>,
    pub(crate) tables: Array<MapData, TableHead>,
    pub(crate) rows: Array<MapData, Rows>,
    pub(crate) members: Array<MapData, Member>,
    pub(crate) verdicts: PerCpuArray<MapData, u64>,
    pub(crate) traffic: PerCpuArray<MapData, Traffic>,
    pub(crate) listeners: SockMap<MapData>,
}

impl Maps {
    /// Takes the maps out of a loaded object.
    ///
    /// # Errors
    /// `L4Error::Map` if the object lacks one or it has another layout.
    pub fn take(object: &mut Ebpf) -> Result<Self, L4Error> {
        Ok(Self {
            config: take(object, name::CONFIG)?,
            services4: take(object, name::SERVICES4)?,
            services6: take(object, name::SERVICES6)?,
            tables: take(object, name::TABLES)?,
            rows: take(object, name::ROWS)?,
            members: take(object, name::MEMBERS)?,
            verdicts: take(object, name::VERDICTS)?,
            traffic: take(object, name::TRAFFIC)?,
            listeners: take(object, name::LISTENERS)?,
        })
    }
}

fn take<T: TryFrom<Map, Error = MapError>>(object: &mut Ebpf, name: &'static str) -> Result<T, L4Error> {
    object
        .take_map(name)
        .ok_or(MapError::InvalidName { name: name.to_owned() })
        .and_then(T::try_from)
        .map_err(L4Error::map(name))
}
