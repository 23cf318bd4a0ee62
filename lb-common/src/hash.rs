//! The keyed flow hash and the encapsulation's tag.
//!
//! Why not SipHash: BPF has neither a rotate nor a 128-bit product, and SipHash-1-3 alone would cost a first hop
//! a third of what it costs now. Why this one resists aiming all the same: the tuple's words are compressed by NH
//! (of UMAC, RFC 4418): a sum of products of two 32-bit halves, each with a secret number of its own added. Whoever
//! does not know them cannot choose two tuples for which it is equal with a chance above 2^-32. (A chain of products
//! would not do: a difference in a word's top bit passes an odd multiplier unchanged, so that the next word can take
//! it back.) Two products with secret odd multipliers then spread the sum, the high half folded down after each; the
//! last one is multiply-shift hashing, universal over its multiplier: two sums share a bucket at most about twice as
//! often as random ones. And clients have little to learn the key from: they see no bit of the output, at best which
//! member answered, that is log2(members) bits of a bucket that went through the table's permutation.
//! The tag is not for eavesdroppers on the node network (who could replay packets anyway) but against those
//! who can send to a member without seeing members' traffic: their chance is 2^-32 a packet.

/// Uniformly random words that a key is made of.
pub const KEY_WORDS: usize = 13;

/// The secrets of hash, tag and connection IDs, derived in user space from the cluster's key and equal on all nodes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct FlowKey {
    /// What is added to the halves of a tuple's words.
    pads: [[u32; 2]; TUPLE_WORDS],
    offset: u64,
    /// Odd, so that a product loses nothing.
    multipliers: [u64; 4],
    /// Of connection IDs alone (`quic`), and last: the packets of TCP do not touch them.
    ids: [u64; 3],
}

/// Words of the longest tuple.
const TUPLE_WORDS: usize = 5;

impl core::fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("FlowKey(..)")
    }
}

impl FlowKey {
    /// The key made of uniformly random words.
    #[must_use]
    pub const fn new(words: [u64; KEY_WORDS]) -> Self {
        let [a, b, c, d, e, offset, m0, m1, m2, m3, ids @ ..] = words;
        Self {
            pads: [halves(a), halves(b), halves(c), halves(d), halves(e)],
            offset,
            multipliers: [m0 | 1, m1 | 1, m2 | 1, m3 | 1],
            ids,
        }
    }

    /// The words of which `new` makes this key.
    #[must_use]
    pub const fn words(&self) -> [u64; KEY_WORDS] {
        let [a, b, c, d, e] = self.pads;
        let [m0, m1, m2, m3] = self.multipliers;
        let [i0, i1, i2] = self.ids;
        let [a, b, c, d, e] =
            [join(a[0], a[1]), join(b[0], b[1]), join(c[0], c[1]), join(d[0], d[1]), join(e[0], e[1])];
        [a, b, c, d, e, self.offset, m0, m1, m2, m3, i0, i1, i2]
    }

    /// The key of the probes' tags: words that the flow hash, of which clients see some effect, does not use.
    #[inline(always)]
    pub(crate) const fn of_probes(&self) -> [u64; 2] {
        [self.offset, self.multipliers[2]]
    }

    /// The key of connection IDs: words that nothing else uses.
    #[inline(always)]
    pub(crate) const fn of_ids(&self) -> [u64; 3] {
        self.ids
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

/// A word of two halves.
#[inline(always)]
#[must_use]
pub const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// The low half of a word, and the high one.
#[inline(always)]
#[must_use]
pub const fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// A word's term of NH.
#[inline(always)]
const fn term(word: u64, pad: [u32; 2]) -> u64 {
    let [low, high] = halves(word);
    low.wrapping_add(pad[0]) as u64 * high.wrapping_add(pad[1]) as u64
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
    let [first, second, third, fourth, last] = key.pads;
    let (addresses, ports) = match tuple {
        Tuple::V4 { source, destination, ports } => (term(join(*source, *destination), first), ports),
        Tuple::V6 { source, destination, ports } => {
            let source = term(source[0], first).wrapping_add(term(source[1], second));
            let destination = term(destination[0], third).wrapping_add(term(destination[1], fourth));
            (source.wrapping_add(destination), ports)
        }
    };
    let sum = addresses.wrapping_add(term(ports.word(), last));
    let [m0, m1, ..] = key.multipliers;
    mix(mix(sum, m0), m1)
}

/// The keyed tag over a chain (the first twelve bytes of the private data, as two words) of the flow whose
/// hash is `flow_hash`.
#[inline(always)]
#[must_use]
pub const fn tag(key: &FlowKey, flow_hash: u64, chain: u64, cluster: u32) -> u32 {
    let [.., t0, t1] = key.multipliers;
    let state = mix(flow_hash ^ chain ^ key.offset, t0);
    (mix(state.wrapping_add(cluster as u64 ^ flow_hash), t1) >> 32) as u32
}

/// That of the golden bytes of packets and probes.
#[cfg(test)]
pub(crate) const GOLDEN_KEY: FlowKey = FlowKey::new([
    0x9216_d5d9_8979_fb1b,
    0xd131_0ba6_98df_b5ac,
    0x2ffd_72db_d01a_dfb7,
    0xb8e1_afed_6a26_7e96,
    0xba7c_9045_f12c_7f99,
    0x24a1_9947_b391_6cf7,
    0x0801_f2e2_858e_fc16,
    0x6369_20d8_7157_4e69,
    0x082e_fa98_ec4e_6c89,
    0x4528_21e6_38d0_1377,
    0xbe54_66cf_34e9_0c6c,
    0xc0ac_29b7_c97c_50dd,
    0x3f84_d5b5_b547_0917,
]);

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::row::{BUCKETS, bucket};
    use crate::siphash;
    use std::vec;
    use std::vec::Vec;

    const KEY: FlowKey = FlowKey::new([
        0x243f_6a88_85a3_08d3,
        0x1319_8a2e_0370_7344,
        0xa409_3822_299f_31d0,
        0x082e_fa98_ec4e_6c89,
        0x4528_21e6_38d0_1377,
        0xbe54_66cf_34e9_0c6c,
        0xc0ac_29b7_c97c_50dd,
        0x3f84_d5b5_b547_0917,
        0x9216_d5d9_8979_fb1b,
        0xd131_0ba6_98df_b5ac,
        0x2ffd_72db_d01a_dfb7,
        0xb8e1_afed_6a26_7e96,
        0xba7c_9045_f12c_7f99,
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

    /// Whoever has no key aims no two flows at one bucket, whichever bits he changes in them.
    #[test]
    fn chosen_differences_meet_no_more_often_than_chance_has_it() {
        const KEYS: u64 = 2_000;
        const BITS: [u64; 8] = [1, 1 << 15, 1 << 16, 1 << 31, 1 << 32, 1 << 47, 1 << 62, 1 << 63];
        let random = |n: u64| siphash::tag(KEY.of_probes(), [n]);
        let words = |seed: u64| [0, 1, 2, 3].map(|word| random(seed << 4 | word));
        let of = |[a, b, c, d]: [u64; 4]| {
            let ports = Ports { source: 1, destination: 2, protocol: 6 };
            Tuple::V6 { source: [a, b], destination: [c, d], ports }
        };
        let place = |key: &FlowKey, words| bucket(flow_hash(key, &of(words)));
        let keys: Vec<_> =
            (1..=KEYS).map(|n| FlowKey::new(core::array::from_fn(|i| random(n << 4 | i as u64)))).collect();
        let (mut tries, mut shared) = (0_u32, 0_u32);
        for (word, first) in (0..3).flat_map(|word| BITS.map(|first| (word, first))) {
            for second in BITS.into_iter().flat_map(|bit| [bit, bit | 1 << 31, bit | bit >> 32]) {
                let plain = words(second ^ first);
                let mut changed = plain;
                changed[word] ^= first;
                changed[word + 1] ^= second;
                let meet = |key: &&FlowKey| place(key, plain) == place(key, changed);
                let equal = keys.iter().filter(meet).count() as u32;
                assert!(equal <= 4, "{first:#x} and {second:#x} from word {word} on: {equal} of {KEYS} keys");
                (tries, shared) = (tries + KEYS as u32, shared + equal);
            }
        }
        assert!(shared <= 2 * tries / BUCKETS, "{shared} of {tries}");
    }

    #[test]
    fn a_key_is_made_again_of_its_words() {
        assert!(FlowKey::new(KEY.words()) == KEY);
        assert!(FlowKey::new(GOLDEN_KEY.words()) == GOLDEN_KEY && GOLDEN_KEY != KEY);
    }

    #[test]
    fn hash_and_tag_are_golden() {
        // Nodes of different versions share flows: these never change.
        let four = flow_hash(&KEY, &v4(0xc633_6401, 40_000));
        let six = flow_hash(&KEY, &v6(1, 40_000));
        let tag = tag(&KEY, four, 0x0001_0002_0003_0010, 7);
        assert_eq!((four, six, tag), GOLDEN, "{four:#x} {six:#x} {tag:#x}");
    }

    const GOLDEN: (u64, u64, u32) = (0x3c7c_4c0b_7478_991a, 0x5b4d_3d4f_886a_6eb3, 0xa151_6ed3);

    #[test]
    fn tag_depends_on_key_flow_chain_and_cluster() {
        let flow = flow_hash(&KEY, &v4(0xc633_6401, 40_000));
        let base = tag(&KEY, flow, 1, 1);
        assert_ne!(base, tag(&FlowKey::new([3; KEY_WORDS]), flow, 1, 1));
        assert_ne!(base, tag(&KEY, flow ^ 1, 1, 1));
        assert_ne!(base, tag(&KEY, flow, 2, 1));
        assert_ne!(base, tag(&KEY, flow, 1, 2));
    }
}
