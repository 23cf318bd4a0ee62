//! SipHash-2-4 (Aumasson and Bernstein, 2012) over a fixed number of words, for tags that are not made per
//! packet of a client: those can pay for a function that is known to resist forgers who have seen many tags.

/// The tag of `words`, of which each stands for its 8 bytes in little-endian order.
#[inline(always)]
#[must_use]
pub(crate) const fn tag<const WORDS: usize>([k0, k1]: [u64; 2], words: [u64; WORDS]) -> u64 {
    let mut state = State([
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ]);
    let mut at = 0;
    while at < WORDS {
        state = state.absorb(words[at]);
        at += 1;
    }
    // What is left of the message: nothing but its length in bytes.
    state = state.absorb((WORDS as u64 * 8) << 56);
    state.0[2] ^= 0xff;
    let State([a, b, c, d]) = state.round().round().round().round();
    a ^ b ^ c ^ d
}

struct State([u64; 4]);

impl State {
    #[inline(always)]
    const fn absorb(mut self, word: u64) -> Self {
        self.0[3] ^= word;
        let mut mixed = self.round().round();
        mixed.0[0] ^= word;
        mixed
    }

    #[inline(always)]
    const fn round(self) -> Self {
        let Self([mut a, mut b, mut c, mut d]) = self;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32).wrapping_add(d);
        c = c.wrapping_add(b);
        d = d.rotate_left(21) ^ a;
        b = b.rotate_left(17) ^ c;
        Self([a, b, c.rotate_left(32), d])
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use siphasher::sip::SipHasher24;
    use std::vec::Vec;

    #[test]
    fn the_vector_of_the_authors() {
        // Key 00 01 .. 0f; messages of 0 and 8 bytes of the same pattern.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(tag(key, []), 0x726f_db47_dd0e_0e31);
        assert_eq!(tag(key, [0x0706_0504_0302_0100]), 0x93f5_f579_9a93_2462);
    }

    proptest! {
        #[test]
        fn as_others_compute_it(key: [u64; 2], words: [u64; 6]) {
            let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
            prop_assert_eq!(tag(key, words), SipHasher24::new_with_keys(key[0], key[1]).hash(&bytes));
        }
    }
}
