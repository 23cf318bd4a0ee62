//! Bytes that say where in which stream they are: a lost, repeated or swapped one shows, whichever it is.

use std::ops::Range;

/// A stream's bytes, one place after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pattern {
    seed: u64,
    at: u64,
}

/// The first byte that is not what its place demands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// Its place in the stream.
    pub at: u64,
}

impl Pattern {
    /// The stream of this seed from its beginning.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, at: 0 }
    }

    /// Bytes given or checked so far.
    #[must_use]
    pub const fn at(&self) -> u64 {
        self.at
    }

    /// Writes the next bytes.
    pub fn fill(&mut self, mut buffer: &mut [u8]) {
        while !buffer.is_empty() {
            let (word, range) = self.next(buffer.len());
            let (now, later) = buffer.split_at_mut(range.len());
            now.copy_from_slice(&word[range]);
            buffer = later;
        }
    }

    /// The next `length` bytes.
    #[must_use]
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes);
        bytes
    }

    /// Compares the next bytes.
    ///
    /// # Errors
    /// The first that is wrong; the pattern then stands behind it.
    pub fn check(&mut self, mut bytes: &[u8]) -> Result<(), Mismatch> {
        while !bytes.is_empty() {
            let start = self.at;
            let (word, range) = self.next(bytes.len());
            let (now, later) = bytes.split_at(range.len());
            let expected = &word[range];
            if now != expected {
                let wrong = now.iter().zip(expected).take_while(|(byte, right)| byte == right).count();
                return Err(Mismatch { at: start + wrong as u64 });
            }
            bytes = later;
        }
        Ok(())
    }

    /// The word at which the stream is, the part of it that comes next, `most` bytes at most; and goes on behind.
    /// Words are mixtures of the seed and the word's number (as in SplitMix64): no two places of a stream look alike.
    fn next(&mut self, most: usize) -> ([u8; 8], Range<usize>) {
        let word = self.at / 8;
        let mut mixed = self.seed ^ word.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^= mixed >> 27;
        let from = (self.at % 8) as usize;
        let to = 8.min(from + most);
        self.at += (to - from) as u64;
        (mixed.to_le_bytes(), from..to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_agrees_with_itself_however_it_is_cut() {
        let whole = Pattern::new(7).take(1_000);
        let mut checked = Pattern::new(7);
        for part in whole.chunks(13) {
            checked.check(part).expect("the same stream");
        }
        assert_eq!(checked.at(), 1_000);
    }

    #[test]
    fn each_fault_shows_at_its_place() {
        let whole = Pattern::new(7).take(200);
        let mut lost = whole.clone();
        lost.drain(50..58);
        let mut repeated = whole.clone();
        repeated.splice(50..50, whole[42..50].iter().copied());
        let mut swapped = whole.clone();
        swapped[48..64].rotate_left(8);
        let mut flipped = whole.clone();
        flipped[50] ^= 1;
        for (fault, at) in [(lost, 50..54), (repeated, 50..54), (swapped, 48..52), (flipped, 50..51)] {
            let found = Pattern::new(7).check(&fault).expect_err("a fault");
            assert!(at.contains(&found.at), "{found:?} is not in {at:?}");
        }
    }

    #[test]
    fn streams_differ() {
        assert!(Pattern::new(8).check(&Pattern::new(7).take(16)).is_err());
    }
}
