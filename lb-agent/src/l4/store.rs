//! Carries operations out on the maps, and reads back what an earlier agent left in them.

use std::collections::BTreeMap;

use aya::maps::{MapError, PerCpuValues};
use aya::util::nr_cpus;
use lb_common::map::{MAX_MEMBERS, MAX_TABLES, Member, Rows, Service, TableHead, Traffic, member, name};

use super::L4Error;
use super::maps::Maps;
use super::plan::{Installed, Operation};
use super::wanted::{Key, MapKey, key_of, map_key};

impl Maps {
    /// Writes one operation into the kernel.
    ///
    /// # Errors
    /// `L4Error::Map` with the map's name.
    pub fn carry_out(&mut self, operation: &Operation) -> Result<(), L4Error> {
        match operation {
            Operation::SetMember(id, member) => self.set_member(*id, member),
            Operation::RemoveMember(id) => self.set_member(*id, &Member::default()),
            Operation::WriteRows(slot, table) => {
                let rows: &Rows = (&*table.rows).try_into().expect("a table has a row for each bucket");
                self.rows.set(*slot, rows, 0).map_err(L4Error::map(name::ROWS))
            }
            Operation::SetTable(table, head) => {
                self.tables.set(*table, head, 0).map_err(L4Error::map(name::TABLES))
            }
            Operation::SetConfig(config) => self.config.set(0, config, 0).map_err(L4Error::map(name::CONFIG)),
            Operation::ClearTraffic(index) => self.clear_traffic(*index),
            Operation::SetService(key, service) => self.set_service(key, service),
            Operation::RemoveService(key) => self.remove_service(key),
        }
    }

    fn set_member(&mut self, id: u16, member: &Member) -> Result<(), L4Error> {
        self.members.set(id.into(), member, 0).map_err(L4Error::map(name::MEMBERS))
    }

    fn clear_traffic(&mut self, index: u32) -> Result<(), L4Error> {
        let action = "count the CPUs";
        let cpus = nr_cpus().map_err(|(_, source)| L4Error::System { action, source })?;
        let zeroes = PerCpuValues::try_from(vec![Traffic::default(); cpus]);
        let zeroes = zeroes.map_err(|source| L4Error::System { action, source })?;
        self.traffic.set(index, zeroes, 0).map_err(L4Error::map(name::TRAFFIC))
    }

    fn set_service(&mut self, key: &Key, service: &Service) -> Result<(), L4Error> {
        match map_key(key) {
            MapKey::V4(key) => self.services4.set(key, service),
            MapKey::V6(key) => self.services6.set(key, service),
        }
    }

    fn remove_service(&mut self, key: &Key) -> Result<(), L4Error> {
        match map_key(key) {
            MapKey::V4(key) => self.services4.remove(key),
            MapKey::V6(key) => self.services6.remove(key),
        }
    }

    /// What the maps hold: zeroes if they are new.
    ///
    /// # Errors
    /// `L4Error::Map` with the map's name.
    pub fn read(&self) -> Result<Installed, L4Error> {
        let config = self.config.get(&0, 0).map_err(L4Error::map(name::CONFIG))?;
        Ok(Installed {
            config,
            services: self.read_services()?,
            members: self.read_members()?,
            tables: self.read_tables()?,
        })
    }

    fn read_services(&self) -> Result<BTreeMap<Key, Service>, L4Error> {
        let v4 = self.services4.read()?.into_iter().map(|(key, service)| (MapKey::V4(key), service));
        let v6 = self.services6.read()?.into_iter().map(|(key, service)| (MapKey::V6(key), service));
        Ok(v4.chain(v6).filter_map(|(key, service)| Some((key_of(&key)?, service))).collect())
    }

    fn read_members(&self) -> Result<BTreeMap<u16, Member>, L4Error> {
        let mut members = BTreeMap::new();
        for id in 0..MAX_MEMBERS {
            let found = self.members.get(&id, 0).map_err(L4Error::map(name::MEMBERS))?;
            if found.flags & member::KNOWN != 0 {
                members.insert(id as u16, found);
            }
        }
        Ok(members)
    }

    fn read_tables(&self) -> Result<BTreeMap<u32, TableHead>, L4Error> {
        let heads = (0..MAX_TABLES).map(|table| self.tables.get(&table, 0).map(|head| (table, head)));
        let heads = heads.collect::<Result<Vec<_>, MapError>>().map_err(L4Error::map(name::TABLES))?;
        Ok(heads.into_iter().filter(|(_, head)| *head != TableHead::default()).collect())
    }
}
