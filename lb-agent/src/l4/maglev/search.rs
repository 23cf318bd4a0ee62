//! The next free bucket of a permutation where few are left: the one that comes first in it. To look at one bucket after the
//! other takes half of a fill's time for the last hundredth of them.

use lb_common::row::BUCKETS;

use super::turns::Turn;
use super::walk::Free;

/// 2^16 + 1, so numbers but the last fit in 16 bits, of which processors work on many at once; and as 2^16 is -1 by this prime, a
/// product's remainder is the difference of its halves.
const _: () = assert!(BUCKETS == 0x1_0001);

/// The bucket that does not fit.
pub(super) const LAST: u32 = BUCKETS - 1;

/// The free buckets.
pub(super) struct Remaining {
    free: Free,
    buckets: Vec<u16>,
    /// By bucket, where it is in `buckets`.
    places: Box<[u16]>,
}

/// How far a bucket is from where a member is in its permutation.
pub(super) struct Distance {
    /// What a bucket is lessened by, modulo 2^16, and one less if it is below `wraps_below`: then it is so many buckets behind the
    /// member's next one, modulo `BUCKETS`.
    base: u16,
    wraps_below: u16,
    /// One over the skip, modulo `BUCKETS`; 0 is 2^16.
    inverse: u16,
}

impl Remaining {
    /// Those of `free`, of which `LAST` is none.
    pub(super) fn new(free: Free) -> Self {
        let buckets: Vec<_> = free.buckets().into_iter().map(|bucket| bucket as u16).collect();
        let mut places = vec![0; LAST as usize].into_boxed_slice();
        for (place, &bucket) in (0..).zip(&buckets) {
            places[usize::from(bucket)] = place;
        }
        Self { free, buckets, places }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The one that this turn takes; `inverse` is that of its skip. There is one.
    pub(super) fn next(&self, turn: &Turn, inverse: u16) -> u32 {
        if self.free.has(turn.next) {
            return turn.next;
        }
        let steps = Distance::new(turn.next, inverse).least(&self.buckets);
        let bucket = u64::from(turn.next) + u64::from(steps) * u64::from(turn.skip);
        (bucket % u64::from(BUCKETS)) as u32
    }

    /// Takes one that is free.
    pub(super) fn take(&mut self, bucket: u32) {
        self.free.take(bucket);
        let place = self.places[bucket as usize];
        self.buckets.swap_remove(usize::from(place));
        if let Some(&moved) = self.buckets.get(usize::from(place)) {
            self.places[usize::from(moved)] = place;
        }
    }
}

impl Distance {
    /// From the bucket `next` in a permutation.
    pub(super) fn new(next: u32, inverse: u16) -> Self {
        match u16::try_from(next) {
            Ok(base) => Self { base, wraps_below: base, inverse },
            // Every other one is behind it, one further than its own number.
            Err(_) => Self { base: u16::MAX, wraps_below: 0, inverse },
        }
    }

    /// Steps to the nearest of these, which are others than `next`.
    fn least(&self, buckets: &[u16]) -> u32 {
        let mut least = u16::MAX;
        for &bucket in buckets {
            least = least.min(self.less_one(bucket));
        }
        u32::from(least) + 1
    }

    /// Steps to another bucket than `next`, less one. Steps are 1 to 2^16: in 16 bits, 0 stands for the latter.
    #[inline(always)]
    pub(super) fn less_one(&self, bucket: u16) -> u16 {
        let ahead = bucket.wrapping_sub(self.base).wrapping_add(u16::from(bucket < self.wraps_below));
        let product = u32::from(ahead) * u32::from(self.inverse);
        let (low, high) = (product as u16, (product >> 16) as u16);
        // As the cipher IDEA multiplies.
        let steps = match product {
            0 => 1_u16.wrapping_sub(ahead).wrapping_sub(self.inverse),
            _ => low.wrapping_sub(high).wrapping_add(u16::from(low < high)),
        };
        steps.wrapping_sub(1)
    }
}

/// One over a skip, modulo `BUCKETS`; 0 is 2^16.
pub(super) fn inverse(skip: u32) -> u16 {
    // By Fermat: to the power of 2^16 - 1, of whose bits that are set there are twice as many each time.
    let product = |a: u64, b: u64| a * b % u64::from(BUCKETS);
    let mut power = u64::from(skip);
    for bits in [1, 2, 4, 8] {
        let shifted = (0..bits).fold(power, |power, _| product(power, power));
        power = product(shifted, power);
    }
    power as u16
}
