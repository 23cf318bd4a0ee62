//! The services as the packet path looks them up: two-choice hashing into buckets of four, in a BPF array.
//!
//! Why not a BPF hash map: its look-up alone took 21 of a first hop's 56 ns on Linux 6.18; this one takes
//! about 4. User space writes (`l4::service_table` in the agent), one writer at a time; the kernel only reads.
//! A reader meets either the old or the new entry: an entry is written whole before its key makes it visible,
//! and a key is one word.

use crate::map::{SERVICE_BUCKETS, Service};

/// Entries of a bucket.
pub const BUCKET_SLOTS: usize = 4;

/// Marks a key's word as in use: all zeroes is no key.
const USED: u64 = 1 << 63;

/// The odd number nearest to 2^64 over the golden ratio (Knuth, TAOCP 6.4): spreads keys that differ in few
/// bits. No secret: keys are the operator's own.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Two more odd numbers without a pattern (of SplitMix64): for words that stand side by side.
const SPREAD_HIGH: u64 = 0xbf58_476d_1ce4_e5b9;
const SPREAD_PORT: u64 = 0x94d0_49bb_1331_11eb;

/// A key's place among the buckets depends on this alone.
pub trait ServiceKey: Copy + PartialEq {
    /// No key.
    const NONE: Self;
    /// A hash of which the upper bits are good.
    fn hash(self) -> u64;
}

/// An IPv4 service's address: VIP, port (both in network order, as loaded from a packet) and protocol; with
/// port and protocol 0 the VIP itself, so that a packet for a port that no Service names is still known to be
/// for a VIP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(transparent)]
pub struct ServiceKey4(u64);

/// As `ServiceKey4`, for IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(C)]
pub struct ServiceKey6 {
    vip: [u64; 2],
    port: u64,
}

#[inline(always)]
const fn port_word(port: u16, protocol: u8) -> u64 {
    USED | (port as u64) << 32 | (protocol as u64) << 48
}

impl ServiceKey4 {
    /// The key of a service, or of a VIP.
    #[inline(always)]
    #[must_use]
    pub const fn new(vip: u32, port: u16, protocol: u8) -> Self {
        Self(vip as u64 | port_word(port, protocol))
    }

    /// VIP, port and protocol; `None` of an empty slot.
    #[must_use]
    pub const fn parts(self) -> Option<(u32, u16, u8)> {
        if self.0 & USED == 0 {
            None
        } else {
            Some((self.0 as u32, (self.0 >> 32) as u16, (self.0 >> 48) as u8))
        }
    }
}

impl ServiceKey6 {
    /// The key of a service, or of a VIP.
    #[inline(always)]
    #[must_use]
    pub const fn new(vip: [u64; 2], port: u16, protocol: u8) -> Self {
        Self { vip, port: port_word(port, protocol) }
    }

    /// VIP, port and protocol; `None` of an empty slot.
    #[must_use]
    pub const fn parts(self) -> Option<([u64; 2], u16, u8)> {
        let word = self.port;
        if word & USED == 0 { None } else { Some((self.vip, (word >> 32) as u16, (word >> 48) as u8)) }
    }
}

impl ServiceKey for ServiceKey4 {
    const NONE: Self = Self(0);

    #[inline(always)]
    fn hash(self) -> u64 {
        let product = self.0.wrapping_mul(SPREAD);
        (product ^ product >> 32).wrapping_mul(SPREAD)
    }
}

impl ServiceKey for ServiceKey6 {
    const NONE: Self = Self { vip: [0; 2], port: 0 };

    #[inline(always)]
    fn hash(self) -> u64 {
        let [low, high] = self.vip;
        // Side by side: one behind the other, they would take a first hop 2 ns longer.
        let [low, high] = [low.wrapping_mul(SPREAD), high.wrapping_mul(SPREAD_HIGH)];
        let sum = low.wrapping_add(high).wrapping_add(self.port.wrapping_mul(SPREAD_PORT));
        (sum ^ sum >> 32).wrapping_mul(SPREAD)
    }
}

/// Some of the entries that share a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct ServiceBucket<K> {
    /// Keys, `ServiceKey::NONE` where the slot is free.
    pub keys: [K; BUCKET_SLOTS],
    /// What they stand for.
    pub services: [Service; BUCKET_SLOTS],
}

impl<K: ServiceKey> ServiceBucket<K> {
    /// A bucket with four free slots.
    pub const EMPTY: Self = Self {
        keys: [K::NONE; BUCKET_SLOTS],
        services: [Service { index: 0, table: 0, flags: 0, zero: 0 }; BUCKET_SLOTS],
    };

    /// The service of a key.
    #[inline(always)]
    pub fn find(&self, key: K) -> Option<&Service> {
        let [first, second, third, fourth] = &self.services;
        let keys = &self.keys;
        if keys[0] == key {
            Some(first)
        } else if keys[1] == key {
            Some(second)
        } else if keys[2] == key {
            Some(third)
        } else if keys[3] == key {
            Some(fourth)
        } else {
            None
        }
    }
}

/// The two buckets in which a key can stand.
#[inline(always)]
pub fn candidates<K: ServiceKey>(key: K) -> [u32; 2] {
    const BITS: u32 = SERVICE_BUCKETS.trailing_zeros();
    let hash = key.hash();
    [(hash >> (64 - BITS)) as u32, (hash >> (64 - 2 * BITS)) as u32 & (SERVICE_BUCKETS - 1)]
}

// No holes, as for all map values.
const _: () = {
    assert!(SERVICE_BUCKETS.is_power_of_two());
    assert!(size_of::<ServiceBucket<ServiceKey4>>() == BUCKET_SLOTS * (8 + 16));
    assert!(size_of::<ServiceBucket<ServiceKey6>>() == BUCKET_SLOTS * (24 + 16));
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_give_back_what_they_are_made_of() {
        assert_eq!(ServiceKey4::new(0x0a71_00cb, 0xbb01, 6).parts(), Some((0x0a71_00cb, 0xbb01, 6)));
        assert_eq!(ServiceKey4::new(1, 0, 0).parts(), Some((1, 0, 0)));
        assert_eq!(ServiceKey4::NONE.parts(), None);
        assert_eq!(ServiceKey6::new([0, 7], 0xbb01, 17).parts(), Some(([0, 7], 0xbb01, 17)));
        assert_eq!(ServiceKey6::NONE.parts(), None);
    }

    #[test]
    fn a_bucket_finds_each_slot_and_nothing_else() {
        let mut bucket = ServiceBucket::EMPTY;
        for slot in 0..BUCKET_SLOTS {
            bucket.keys[slot] = ServiceKey4::new(slot as u32, 80, 6);
            bucket.services[slot].index = slot as u32;
        }
        for slot in 0..BUCKET_SLOTS as u32 {
            assert_eq!(bucket.find(ServiceKey4::new(slot, 80, 6)).map(|found| found.index), Some(slot));
        }
        assert_eq!(bucket.find(ServiceKey4::new(4, 80, 6)), None);
        assert_eq!(bucket.find(ServiceKey4::new(0, 80, 17)), None);
    }
}
