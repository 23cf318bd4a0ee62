//! The table: bucket -> row, and how a row is packed into the 8 bytes that change in one store.

/// Buckets of a table (Maglev's M): prime, so that every member's permutation visits all of them.
pub const BUCKETS: u32 = 65_537;

/// Members a row can name: the opener and the two that opened before it.
pub const ROW_MEMBERS: usize = 3;

/// The id of an edge node; 0 stands for "none".
pub type MemberId = u16;

/// No member.
pub const NO_MEMBER: MemberId = 0;

/// The members at which a bucket's flows may be, the opener first.
/// Bits 0..16 hold the opener, 16..32 and 32..48 those before it, the rest is zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Row(u64);

impl Row {
    /// A row that sends nothing anywhere.
    pub const EMPTY: Self = Self(0);

    /// The row `[opener, previous, before that]`.
    #[inline(always)]
    #[must_use]
    pub const fn new(members: [MemberId; ROW_MEMBERS]) -> Self {
        Self(members[0] as u64 | (members[1] as u64) << 16 | (members[2] as u64) << 32)
    }

    /// The row of a bucket that only ever belonged to `opener`.
    #[inline(always)]
    #[must_use]
    pub const fn of(opener: MemberId) -> Self {
        Self(opener as u64)
    }

    /// The packed form, as the map holds it.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The row that a map value stands for. Any 64 bits are a row; the upper 16 mean nothing.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & 0xffff_ffff_ffff)
    }

    /// Where new flows of the bucket open; `NO_MEMBER` in an empty row.
    #[inline(always)]
    #[must_use]
    pub const fn opener(self) -> MemberId {
        self.0 as MemberId
    }

    /// The three places of the row.
    #[inline(always)]
    #[must_use]
    pub const fn members(self) -> [MemberId; ROW_MEMBERS] {
        [self.0 as u16, (self.0 >> 16) as u16, (self.0 >> 32) as u16]
    }

    /// Whether the opener is all there is: nobody opened flows of the bucket before it.
    #[inline(always)]
    #[must_use]
    pub const fn is_alone(self) -> bool {
        self.0 >> 16 == 0
    }

    /// The row of a flow that two flow keys put into these two rows, this one by the key in force. Whoever has it is one
    /// of the openers, unless that is down: then one of the further members. Who is down is asked last, for a packet that
    /// goes to a dead member comes to no other.
    #[inline(always)]
    #[must_use]
    pub fn joined(self, other: Self, is_down: impl Fn(MemberId) -> bool) -> Self {
        let ([opener, first, last], [other, other_first, other_last]) = (self.members(), other.members());
        let further = [other, first, other_first, last, other_last];
        let mut row = Self::of(opener);
        for id in further {
            if !is_down(id) {
                row = row.with(id);
            }
        }
        for id in further {
            row = row.with(id);
        }
        row
    }

    /// The same with another member behind its opener, if it is new and there is a place.
    #[inline(always)]
    const fn with(self, id: MemberId) -> Self {
        let [first, second, third] = self.members();
        if id == NO_MEMBER || id == first || id == second || id == third {
            self
        } else if second == NO_MEMBER {
            Self::new([first, id, third])
        } else if third == NO_MEMBER {
            Self::new([first, second, id])
        } else {
            self
        }
    }

    /// Its places in reverse.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        let [first, second, third] = self.members();
        Self::new([third, second, first])
    }

    /// Whether it names a member at two places.
    #[inline(always)]
    #[must_use]
    pub const fn names_one_twice(self) -> bool {
        let [first, second, third] = self.members();
        (second != NO_MEMBER && (first == second || second == third))
            || (third != NO_MEMBER && first == third)
    }
}

/// The bucket of a flow: the upper half of its hash scaled to `0..BUCKETS`.
/// A multiplication instead of a remainder, for the kernel's JIT divides slowly.
#[inline(always)]
#[must_use]
pub const fn bucket(flow_hash: u64) -> u32 {
    (((flow_hash >> 32) * BUCKETS as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_keeps_its_members() {
        let row = Row::new([1, 0xffff, 0x8000]);
        assert_eq!(row.opener(), 1);
        assert_eq!(row.members(), [1, 0xffff, 0x8000]);
        assert_eq!(row.bits(), 0x8000_ffff_0001);
        assert_eq!(Row::from_bits(row.bits() | 0xabcd << 48), row);
        assert_eq!(Row::of(7).members(), [7, NO_MEMBER, NO_MEMBER]);
    }

    #[test]
    fn a_member_at_two_places_is_seen() {
        for row in [[1, 1, 0], [1, 2, 1], [1, 2, 2], [1, 1, 1], [0, 1, 1]] {
            assert!(Row::new(row).names_one_twice(), "{row:?}");
        }
        for row in [[1, 0, 0], [1, 2, 0], [1, 2, 3], [1, 0, 2], [0, 0, 0]] {
            assert!(!Row::new(row).names_one_twice(), "{row:?}");
        }
        assert!(Row::of(1).is_alone() && !Row::new([1, 0, 2]).is_alone());
    }

    #[test]
    fn rows_of_two_keys_are_joined() {
        const DOWN: MemberId = 9;
        let check = |by_key, by_other, expected| {
            let joined = Row::new(by_key).joined(Row::new(by_other), |id| id == DOWN);
            assert_eq!(joined.members(), expected, "{by_key:?} and {by_other:?}");
            assert!(!joined.names_one_twice());
        };
        check([1, 0, 0], [1, 0, 0], [1, 0, 0]);
        check([1, 0, 0], [2, 0, 0], [1, 2, 0]);
        // Both openers come first, whoever else there is.
        check([1, 3, 0], [2, 0, 0], [1, 2, 3]);
        check([1, 0, 0], [2, 4, 5], [1, 2, 4]);
        check([1, 3, 4], [2, 5, 6], [1, 2, 3]);
        check([1, 2, 4], [2, 1, 3], [1, 2, 4]);
        check([1, 2, 0], [2, 1, 3], [1, 2, 3]);
        check([1, 3, 4], [1, 5, 0], [1, 3, 5]);
        check([1, 2, 3], [3, 0, 0], [1, 3, 2]);
        // Who is down is asked last, if at all.
        check([1, DOWN, 0], [2, 3, 0], [1, 2, 3]);
        check([1, DOWN, 0], [2, DOWN, 0], [1, 2, DOWN]);
        check([1, DOWN, 0], [1, 3, 0], [1, 3, DOWN]);
        check([1, 0, 0], [DOWN, 3, 0], [1, 3, DOWN]);
        // Of a table that is being written nothing is right but that this ends.
        check([1, 0, 3], [0, 0, 0], [1, 3, 0]);
    }

    #[test]
    fn bucket_covers_the_table_and_nothing_else() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        let mut last = 0;
        for step in 0..=0xffff_u64 {
            let bucket = bucket(step << 48);
            assert!(bucket == last || bucket == last + 1, "bucket {bucket} after {last}");
            last = bucket;
        }
    }
}
