//! The next free bucket of a permutation, by looking at one after the other.

use lb_common::row::BUCKETS;

use super::turns::Turn;

/// A bit for each bucket, in so many words that no index need be checked.
const WORDS: usize = (BUCKETS as usize / 64 + 1).next_power_of_two();

/// Free buckets.
pub(super) struct Free([u64; WORDS]);

impl Free {
    /// All of them.
    pub(super) fn new() -> Self {
        let mut words = [0; WORDS];
        let (whole, rest) = (BUCKETS as usize / 64, BUCKETS % 64);
        words[..whole].fill(u64::MAX);
        words[whole] = (1 << rest) - 1;
        Self(words)
    }

    /// Whether `bucket` is.
    #[inline(always)]
    pub(super) fn has(&self, bucket: u32) -> bool {
        self.0[bucket as usize / 64 % WORDS] >> (bucket % 64) & 1 != 0
    }

    /// All bits set if `bucket` is.
    #[inline(always)]
    fn mask(&self, bucket: u32) -> u32 {
        (self.0[bucket as usize / 64 % WORDS] >> (bucket % 64) & 1) as u32 * u32::MAX
    }

    /// Takes one that is free.
    #[inline(always)]
    pub(super) fn take(&mut self, bucket: u32) {
        self.0[bucket as usize / 64 % WORDS] ^= 1 << (bucket % 64);
    }

    /// Those that are, in order.
    pub(super) fn buckets(&self) -> Vec<u32> {
        let mut buckets = Vec::new();
        for (first, mut word) in (0..).step_by(64).zip(self.0) {
            while word != 0 {
                buckets.push(first + word.trailing_zeros());
                word &= word - 1;
            }
        }
        buckets
    }

    /// The one that this turn takes, if `left` are. There is one.
    #[inline(always)]
    pub(super) fn next(&self, turn: &Turn, left: u32) -> u32 {
        // Where a search ends is nothing that a processor can foresee, and to go wrong costs it as much as some looks more: the
        // fewest at once that will nearly always do. Measured.
        match left {
            45_000.. => self.next_by_two(turn),
            12_000.. => self.next_by_four(turn),
            _ => self.next_by_one(turn),
        }
    }

    #[inline(always)]
    fn next_by_one(&self, turn: &Turn) -> u32 {
        let mut bucket = turn.next;
        while !self.has(bucket) {
            bucket = turn.after(bucket);
        }
        bucket
    }

    #[inline(always)]
    fn next_by_two(&self, turn: &Turn) -> u32 {
        let mut first = turn.next;
        loop {
            let second = turn.after(first);
            let masks = [self.mask(first), self.mask(second)];
            if masks[0] | masks[1] != 0 {
                return either(masks[0], first, second);
            }
            first = turn.after(second);
        }
    }

    #[inline(always)]
    fn next_by_four(&self, turn: &Turn) -> u32 {
        let mut first = turn.next;
        loop {
            let second = turn.after(first);
            let third = turn.after(second);
            let fourth = turn.after(third);
            let masks = [self.mask(first), self.mask(second), self.mask(third)];
            if masks[0] | masks[1] | masks[2] | self.mask(fourth) != 0 {
                let later = either(masks[1], second, either(masks[2], third, fourth));
                return either(masks[0], first, later);
            }
            first = turn.after(fourth);
        }
    }
}

/// The first one if all bits of `mask` are set, the second one if none is: of a condition, compilers make a branch.
#[inline(always)]
fn either(mask: u32, first: u32, second: u32) -> u32 {
    second ^ ((first ^ second) & mask)
}
