//! Writes the service tables that the packet path reads (`lb_common::service_table`): where an entry goes,
//! and in which order its words are stored.

use aya::Pod;
use aya::maps::{Array, Map, MapData, MapError};
use lb_common::map::{SERVICE_BUCKETS, Service};
use lb_common::service_table::{ServiceBucket, ServiceKey, candidates};

use super::L4Error;

/// One family's table in the kernel.
pub(crate) struct ServiceTable<K>
where
    ServiceBucket<K>: Pod,
{
    name: &'static str,
    buckets: Array<MapData, ServiceBucket<K>>,
}

/// Where an entry stands or is to stand: which of its two buckets, and which slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// 0 or 1, as `candidates` gives them.
    pub choice: usize,
    /// The slot.
    pub slot: usize,
}

/// Where `key` stands.
pub fn find<K: ServiceKey>(key: K, buckets: [&ServiceBucket<K>; 2]) -> Option<Place> {
    let slot_in = |bucket: &ServiceBucket<K>| bucket.keys.iter().position(|&found| found == key);
    (0..2).find_map(|choice| slot_in(buckets[choice]).map(|slot| Place { choice, slot }))
}

/// Where a key that stands nowhere is to stand: in the emptier bucket. `None` if both are full.
pub fn vacancy<K: ServiceKey>(buckets: [&ServiceBucket<K>; 2]) -> Option<Place> {
    let taken = buckets.map(|bucket| bucket.keys.iter().filter(|&&key| key != K::NONE).count());
    let choice = usize::from(taken[1] < taken[0]);
    let slot = buckets[choice].keys.iter().position(|&key| key == K::NONE)?;
    Some(Place { choice, slot })
}

impl<K: ServiceKey + 'static> ServiceTable<K>
where
    ServiceBucket<K>: Pod,
{
    /// The table in a map.
    pub(crate) fn new(name: &'static str, map: Map) -> Result<Self, MapError> {
        Ok(Self { name, buckets: Array::try_from(map)? })
    }

    /// Adds a service, or changes it where it stands.
    pub(crate) fn set(&mut self, key: K, service: &Service) -> Result<(), L4Error> {
        let indices = candidates(key);
        let buckets = self.both(indices)?;
        let both = buckets.each_ref();
        if let Some(Place { choice, slot }) = find(key, both) {
            let mut bucket = buckets[choice];
            bucket.services[slot] = *service;
            return self.write(indices[choice], &bucket);
        }
        let Place { choice, slot } = vacancy(both).ok_or(L4Error::ServiceTableCrowded)?;
        let mut bucket = buckets[choice];
        // Whole before its key makes it visible: the kernel copies a value word by word, in no certain order.
        bucket.services[slot] = *service;
        self.write(indices[choice], &bucket)?;
        bucket.keys[slot] = key;
        self.write(indices[choice], &bucket)
    }

    /// Removes a service; one that is not there is as good.
    pub(crate) fn remove(&mut self, key: K) -> Result<(), L4Error> {
        let indices = candidates(key);
        let buckets = self.both(indices)?;
        let Some(Place { choice, slot }) = find(key, buckets.each_ref()) else { return Ok(()) };
        let mut bucket = buckets[choice];
        bucket.keys[slot] = K::NONE;
        self.write(indices[choice], &bucket)
    }

    /// The service of a key.
    pub(crate) fn get(&self, key: K) -> Result<Option<Service>, L4Error> {
        let buckets = self.both(candidates(key))?;
        let place = find(key, buckets.each_ref());
        Ok(place.map(|Place { choice, slot }| buckets[choice].services[slot]))
    }

    /// Everything in the table.
    pub(crate) fn read(&self) -> Result<Vec<(K, Service)>, L4Error> {
        let mut all = Vec::new();
        for index in 0..SERVICE_BUCKETS {
            let ServiceBucket { keys, services } = self.bucket(index)?;
            all.extend(keys.into_iter().zip(services).filter(|(key, _)| *key != K::NONE));
        }
        Ok(all)
    }

    fn both(&self, [first, second]: [u32; 2]) -> Result<[ServiceBucket<K>; 2], L4Error> {
        Ok([self.bucket(first)?, self.bucket(second)?])
    }

    fn bucket(&self, index: u32) -> Result<ServiceBucket<K>, L4Error> {
        self.buckets.get(&index, 0).map_err(L4Error::map(self.name))
    }

    fn write(&mut self, index: u32, bucket: &ServiceBucket<K>) -> Result<(), L4Error> {
        self.buckets.set(index, bucket, 0).map_err(L4Error::map(self.name))
    }
}

#[cfg(test)]
mod tests {
    use lb_common::map::MAX_SERVICES;
    use lb_common::service_table::{ServiceKey4, ServiceKey6};

    use super::*;

    /// Adds as the kernel's table does, to memory.
    fn add<K: ServiceKey>(table: &mut [ServiceBucket<K>], key: K) -> bool {
        let indices = candidates(key).map(|index| index as usize);
        let Some(Place { choice, slot }) = vacancy(indices.map(|index| &table[index])) else { return false };
        table[indices[choice]].keys[slot] = key;
        true
    }

    fn fits<K: ServiceKey>(keys: impl Iterator<Item = K>) {
        let mut table = vec![ServiceBucket::EMPTY; SERVICE_BUCKETS as usize];
        let added: Vec<K> = keys.take_while(|&key| add(&mut table, key)).collect();
        assert_eq!(added.len(), MAX_SERVICES as usize, "all have a place");
        for key in added {
            let both = candidates(key).map(|index| &table[index as usize]);
            assert!(find(key, both).is_some(), "and are found there");
        }
    }

    #[test]
    fn a_full_set_of_services_fits() {
        const PORT: u16 = 443_u16.to_be();
        for round in 0..8 {
            let address = |n: u32| (0xcb00_7100 + (round << 20) + n).to_be();
            fits((0..MAX_SERVICES).map(|n| ServiceKey4::new(address(n), PORT, 6)));
            fits((0..MAX_SERVICES).map(|n| ServiceKey4::new(address(0), (n as u16).to_be(), 6)));
            let v6 = |n: u32| [0xb80d_0120, u64::from(address(n)) << 32];
            fits((0..MAX_SERVICES).map(|n| ServiceKey6::new(v6(n), PORT, 6)));
            fits((0..MAX_SERVICES).map(|n| ServiceKey6::new(v6(0), (n as u16).to_be(), 17)));
        }
    }

    #[test]
    fn two_full_buckets_have_no_vacancy() {
        let full = ServiceBucket { keys: [ServiceKey4::new(1, 1, 6); 4], ..ServiceBucket::EMPTY };
        assert_eq!(vacancy([&full, &full]), None);
        let empty = ServiceBucket::<ServiceKey4>::EMPTY;
        assert_eq!(vacancy([&full, &empty]), Some(Place { choice: 1, slot: 0 }));
        assert_eq!(vacancy([&empty, &empty]), Some(Place { choice: 0, slot: 0 }));
    }
}
