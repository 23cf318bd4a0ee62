//! The internet checksum (RFC 1071) and its incremental update (RFC 1624), on 16-bit words
//! in whatever byte order the caller reads them: a one's complement sum does not care.

/// Folds a sum of 16-bit words into 16 bits, with end-around carry.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum field for the sum of all other words.
#[inline(always)]
#[must_use]
pub const fn finish(sum: u32) -> u16 {
    !fold(sum)
}

/// The checksum field after one word under it changed from `old` to `new` (RFC 1624, equation 3).
#[inline(always)]
#[must_use]
pub const fn update(check: u16, old: u16, new: u16) -> u16 {
    finish(!check as u32 + !old as u32 + new as u32)
}

/// The sum of the 16-bit words of `bytes`, in network byte order; an odd last byte counts as a high byte.
#[must_use]
pub fn sum(bytes: &[u8]) -> u32 {
    let mut words = bytes.chunks_exact(2);
    let even: u32 = words.by_ref().map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    even + words.remainder().first().map_or(0, |&last| u32::from(last) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The values at which implementations without the end-around carry go wrong.
    const EDGES: [u16; 6] = [0x0000, 0x0001, 0x7fff, 0xfff8, 0xfffe, 0xffff];

    fn recomputed(words: [u16; 3]) -> u16 {
        finish(words.iter().map(|&word| u32::from(word)).sum())
    }

    fn check(words: [u16; 3], new: u16) {
        let updated = update(recomputed(words), words[1], new);
        let expected = recomputed([words[0], new, words[2]]);
        // 0x0000 and 0xffff are the same number in one's complement; a header whose other words are
        // not all zero never needs the second form.
        assert!(
            updated == expected || (updated ^ expected) == 0xffff,
            "{words:04x?} -> {new:04x}: {updated:04x}, expected {expected:04x}"
        );
        if words[0] != 0 {
            assert_eq!(updated, expected, "{words:04x?} -> {new:04x}");
        }
    }

    #[test]
    fn update_holds_at_the_edges() {
        for first in EDGES {
            for old in EDGES {
                for new in EDGES {
                    check([first, old, 0x1234], new);
                }
            }
        }
    }

    #[test]
    fn rfc_1071_example() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0x2_ddf0);
        assert_eq!(fold(0x2_ddf0), 0xddf2);
    }

    proptest! {
        #[test]
        fn update_equals_recomputing(words: [u16; 3], new: u16) {
            check(words, new);
        }
    }
}
