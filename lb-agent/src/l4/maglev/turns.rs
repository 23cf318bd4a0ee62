//! Whose turn it is to take a bucket, and where each member is in its permutation of them.

use std::hash::Hasher;

use lb_common::row::{BUCKETS, MemberId};
use siphasher::sip::SipHasher24;

use crate::model::Member;

/// The fixed keys of the permutation: changing one reshuffles every cluster.
const OFFSET_KEY: u64 = 0x6564_6765_6c62_6f66;
const SKIP_KEY: u64 = 0x6564_6765_6c62_736b;

/// Members with weight in the order of their names, in which they take turns. One of less weight than the heaviest sits out
/// turns in proportion.
pub(super) struct Turns {
    all: Vec<Turn>,
    heaviest: u64,
    at: usize,
}

/// A member's place in its permutation of the buckets.
pub(super) struct Turn {
    pub(super) id: MemberId,
    /// The bucket that it looks at next.
    pub(super) next: u32,
    /// From one bucket of its permutation to the next, from 1 to `BUCKETS - 1`.
    pub(super) skip: u32,
    /// The same less `BUCKETS`, modulo 2^32.
    back: u32,
    weight: u64,
    credit: u64,
}

impl Turns {
    /// `None` if no member has weight.
    pub(super) fn new<'a>(members: impl IntoIterator<Item = &'a Member>) -> Option<Self> {
        let mut members: Vec<_> = members.into_iter().filter(|member| member.weight > 0).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        let all: Vec<_> = members.into_iter().map(Turn::new).collect();
        let heaviest = all.iter().map(|turn| turn.weight).max()?;
        Some(Self { all, heaviest, at: 0 })
    }

    /// Whose turn is next, by its place in `all`.
    #[inline]
    pub(super) fn next(&mut self) -> usize {
        loop {
            let at = self.at;
            self.at = if at + 1 == self.all.len() { 0 } else { at + 1 };
            let turn = &mut self.all[at];
            turn.credit += turn.weight;
            if turn.credit >= self.heaviest {
                turn.credit -= self.heaviest;
                return at;
            }
        }
    }

    /// All, in order.
    pub(super) fn all(&mut self) -> &mut [Turn] {
        &mut self.all
    }
}

impl Turn {
    fn new(member: &Member) -> Self {
        let skip = (hash(SKIP_KEY, &member.name) % u64::from(BUCKETS - 1)) as u32 + 1;
        Self {
            id: member.id,
            next: (hash(OFFSET_KEY, &member.name) % u64::from(BUCKETS)) as u32,
            skip,
            back: skip.wrapping_sub(BUCKETS),
            weight: u64::from(member.weight),
            credit: 0,
        }
    }

    /// Opens the flows of this bucket from now on, and looks at the one after it next.
    #[inline(always)]
    pub(super) fn open(&mut self, bucket: u32, table: &mut [MemberId]) {
        table[bucket as usize] = self.id;
        self.next = self.after(bucket);
    }

    /// The bucket after this one in its permutation.
    #[inline(always)]
    pub(super) fn after(&self, bucket: u32) -> u32 {
        // What is negative is great as it stands. A branch would be foreseen wrongly half of the time.
        bucket.wrapping_add(self.back).min(bucket + self.skip)
    }
}

fn hash(key: u64, name: &str) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(key, key);
    hasher.write(name.as_bytes());
    hasher.finish()
}
