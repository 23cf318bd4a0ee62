//! The keyed flow hash and the encapsulation's tag.
//!
//! Why not SipHash: BPF has neither a rotate nor a 128-bit product, and SipHash-1-3 alone would cost a first hop
//! a third of what it costs now. Why this one resists aiming all the same: every step is a product with a secret
//! odd 64-bit multiplier after a secret offset, whose high half is folded down before the next. Without the key,
//! two chosen tuples share a bucket as often as two random ones (multiply-shift hashing is universal over the
//! multiplier). And clients have little to learn the key from: they see no bit of the output, at best which member
//! answered, that is log2(members) bits of a bucket that went through the table's permutation.
//! The tag is not for eavesdroppers on the node network (who could replay packets anyway) but against those
//! who can send to a member without seeing members' traffic: their chance is 2^-32 a packet.

/// The secrets of hash and tag, derived in user space from the cluster's key and equal on all nodes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct FlowKey {
    offsets: [u64; 3],
    /// Odd, so that a product loses nothing.
    multipliers: [u64; 5],
}

impl core::fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("FlowKey(..)")
    }
}

impl FlowKey {
    /// The key made of eight uniformly random words.
    #[must_use]
    pub const fn new(words: [u64; 8]) -> Self {
        Self {
            offsets: [words[0], words[1], words[2]],
            multipliers: [words[3] | 1, words[4] | 1, words[5] | 1, words[6] | 1, words[7] | 1],
        }
    }

    /// The key of the probes' tags: words that the flow hash, of which clients see some effect, does not use.
    #[inline(always)]
    pub(crate) const fn of_probes(&self) -> [u64; 2] {
        [self.offsets[2], self.multipliers[3]]
    }
}

/// What identifies a flow. Addresses and ports as words loaded from the packet as they stand
/// there, so that no side swaps bytes; all nodes are little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tuple {
    /// Of an IPv4 packet.
    V4 {
        /// Source address.
        source: u32,
        /// Destination address: the VIP.
        destination: u32,
        /// Ports and protocol.
        ports: Ports,
    },
    /// Of an IPv6 packet.
    V6 {
        /// Source address.
        source: [u64; 2],
        /// Destination address: the VIP.
        destination: [u64; 2],
        /// Ports and protocol.
        ports: Ports,
    },
}

/// The transport part of a flow's tuple, in network order as loaded from the packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ports {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// 6 for TCP, 17 for UDP.
    pub protocol: u8,
}

impl Ports {
    #[inline(always)]
    const fn word(self) -> u64 {
        self.source as u64 | (self.destination as u64) << 16 | (self.protocol as u64) << 32
    }
}

#[inline(always)]
const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// One keyed step: the product's high half, which depends on every bit below it, is folded onto its low half.
#[inline(always)]
const fn mix(state: u64, multiplier: u64) -> u64 {
    let product = state.wrapping_mul(multiplier);
    product ^ (product >> 32)
}

/// The keyed hash of a flow. The upper half picks the bucket (`row::bucket`), the lower half is entropy for
/// the outer source port; the whole is the base of the tag.
#[inline(always)]
#[must_use]
pub const fn flow_hash(key: &FlowKey, tuple: &Tuple) -> u64 {
    let [k0, k1, _] = key.offsets;
    let [m0, m1, m2, ..] = key.multipliers;
    let (state, ports) = match tuple {
        Tuple::V4 { source, destination, ports } => (mix(join(*source, *destination) ^ k0, m0), ports),
        Tuple::V6 { source, destination, ports } => {
            let state = mix(source[0] ^ k0, m0);
            let state = mix(state.wrapping_add(source[1] ^ k1), m1);
            let state = mix(state.wrapping_add(destination[0] ^ k0), m0);
            (mix(state.wrapping_add(destination[1] ^ k1), m1), ports)
        }
    };
    // Two products over the last word: the upper bits of one depend on all bits of the word below them, and
    // the fold between brings its own upper bits down again.
    mix(mix(state.wrapping_add(ports.word() ^ k1), m1), m2)
}

/// The keyed tag over a chain (the first twelve bytes of the private data, as two words) of the flow whose
/// hash is `flow_hash`.
#[inline(always)]
#[must_use]
pub const fn tag(key: &FlowKey, flow_hash: u64, chain: u64, cluster: u32) -> u32 {
    let [.., t0, t1] = key.multipliers;
    let state = mix(flow_hash ^ chain ^ key.offsets[2], t0);
    (mix(state.wrapping_add(cluster as u64 ^ flow_hash), t1) >> 32) as u32
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::row::{BUCKETS, bucket};
    use std::vec;

    const KEY: FlowKey = FlowKey::new([
        0x243f_6a88_85a3_08d3,
        0x1319_8a2e_0370_7344,
        0xa409_3822_299f_31d0,
        0x082e_fa98_ec4e_6c89,
        0x4528_21e6_38d0_1377,
        0xbe54_66cf_34e9_0c6c,
        0xc0ac_29b7_c97c_50dd,
        0x3f84_d5b5_b547_0917,
    ]);

    fn v4(source: u32, port: u16) -> Tuple {
        let ports = Ports { source: port.to_be(), destination: 443_u16.to_be(), protocol: 6 };
        Tuple::V4 { source: source.to_be(), destination: 0xcb00_710a_u32.to_be(), ports }
    }

    fn v6(source: u32, port: u16) -> Tuple {
        let ports = Ports { source: port.to_be(), destination: 443_u16.to_be(), protocol: 6 };
        let network = 0x2001_0db8_0000_0000_u64.to_be();
        Tuple::V6 {
            source: [network, u64::from(source).to_be()],
            destination: [network, 10_u64.to_be()],
            ports,
        }
    }

    /// Chi-squared over the buckets of structured tuples, as a ratio to its degrees of freedom.
    fn unevenness(tuples: impl Iterator<Item = Tuple>) -> f64 {
        let mut hits = vec![0_u32; BUCKETS as usize];
        let mut total = 0_u32;
        for tuple in tuples {
            hits[bucket(flow_hash(&KEY, &tuple)) as usize] += 1;
            total += 1;
        }
        let expected = f64::from(total) / f64::from(BUCKETS);
        let chi: f64 = hits.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
        chi / f64::from(BUCKETS - 1)
    }

    #[test]
    fn structured_tuples_spread_like_random_ones() {
        // 1 ± 0.055 is ten standard deviations of chi-squared/df with 65,536 degrees of freedom.
        type Make = fn(u32, u16) -> Tuple;
        for (name, make) in [("v4", v4 as Make), ("v6", v6 as Make)] {
            let ports = unevenness((0..32).flat_map(|host| (0..=u16::MAX).map(move |port| make(host, port))));
            assert!((0.94..1.06).contains(&ports), "{name}, all ports of 32 clients: {ports}");
            let hosts = unevenness((0..1 << 21).map(|host| make(host, 40_000)));
            assert!((0.94..1.06).contains(&hosts), "{name}, one port of 2^21 clients: {hosts}");
        }
    }

    #[test]
    fn one_bit_of_the_tuple_changes_half_of_the_hash() {
        let mut flipped = 0;
        let mut tries = 0;
        for port in 0..1024 {
            let base = flow_hash(&KEY, &v4(0xc633_6401, port));
            for bit in 0..16 {
                flipped += (base ^ flow_hash(&KEY, &v4(0xc633_6401, port ^ 1 << bit))).count_ones();
                tries += 64;
            }
        }
        let share = f64::from(flipped) / f64::from(tries);
        assert!((0.48..0.52).contains(&share), "{share}");
    }

    #[test]
    fn hash_and_tag_are_golden() {
        // Nodes of different versions share flows: these never change.
        let four = flow_hash(&KEY, &v4(0xc633_6401, 40_000));
        let six = flow_hash(&KEY, &v6(1, 40_000));
        let tag = tag(&KEY, four, 0x0001_0002_0003_0010, 7);
        assert_eq!((four, six, tag), GOLDEN, "{four:#x} {six:#x} {tag:#x}");
    }

    const GOLDEN: (u64, u64, u32) = (0x2720_fd86_b5c8_2028, 0xab76_abfd_bc56_b753, 0x4f48_35f8);

    #[test]
    fn tag_depends_on_key_flow_chain_and_cluster() {
        let flow = flow_hash(&KEY, &v4(0xc633_6401, 40_000));
        let base = tag(&KEY, flow, 1, 1);
        assert_ne!(base, tag(&FlowKey::new([3; 8]), flow, 1, 1));
        assert_ne!(base, tag(&KEY, flow ^ 1, 1, 1));
        assert_ne!(base, tag(&KEY, flow, 2, 1));
        assert_ne!(base, tag(&KEY, flow, 1, 2));
    }
}
