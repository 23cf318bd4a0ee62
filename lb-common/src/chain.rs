//! The chain: a row as it travels with an encapsulated packet, and the packet's place in it.

use crate::encap::VERSION;
use crate::row::{MemberId, NO_MEMBER, ROW_MEMBERS, Row};

/// Which way the packet walks along its chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the opener to the oldest: packets that cannot open a flow.
    FromOpener,
    /// From the oldest to the opener: packets that can.
    ToOpener,
}

/// The row as it travels with a packet, with the packet's place in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chain {
    /// The members that may have the flow.
    pub row: Row,
    /// Which way it walks.
    pub direction: Direction,
    /// How often the opener's place was given to a stand-in on the way, since the one there had no agent: 0..4.
    pub stand_ins: u8,
    /// The place in the row of the member that this packet is sent to, 0..3.
    pub hop: u8,
}

const LAST: u8 = ROW_MEMBERS as u8 - 1;

/// A chain has stand-ins so many times: what two nodes take for each other's goes between them no more often.
const MAX_STAND_INS: u8 = 3;

impl Chain {
    /// The chain of a packet on its way to the row's opener, with no other place to ask.
    #[inline(always)]
    #[must_use]
    pub const fn to_opener(row: Row) -> Self {
        Self::start(row, Direction::FromOpener)
    }

    /// The chain at the first place of a walk, be it empty or not.
    #[inline(always)]
    #[must_use]
    pub const fn start(row: Row, direction: Direction) -> Self {
        let hop = match direction {
            Direction::FromOpener => 0,
            Direction::ToOpener => LAST,
        };
        Self { row, direction, stand_ins: 0, hop }
    }

    /// The same one place further: the hop moves one way only, so that no walk is endless. Beyond the last
    /// place it lies outside of the row.
    #[inline(always)]
    #[must_use]
    pub const fn next(self) -> Self {
        let hop = match self.direction {
            Direction::FromOpener => self.hop.wrapping_add(1),
            Direction::ToOpener => self.hop.wrapping_sub(1),
        };
        Self { hop, ..self }
    }

    /// The chain with which the packet leaves the opener for the member that stands in for it. Nothing if it is not at the
    /// opener, nobody stands in, or that has been so too often.
    #[inline(always)]
    #[must_use]
    pub const fn handed_to(self, stand_in: MemberId) -> Option<Self> {
        let [opener, second, third] = self.row.members();
        if self.hop != 0 || stand_in == NO_MEMBER || stand_in == opener || self.stand_ins >= MAX_STAND_INS {
            return None;
        }
        // It is asked once, in its new place.
        let second = if second == stand_in { NO_MEMBER } else { second };
        let third = if third == stand_in { NO_MEMBER } else { third };
        Some(Self { row: Row::new([stand_in, second, third]), stand_ins: self.stand_ins + 1, ..self })
    }

    /// The member that the packet is for; `None` if the hop lies outside of the row.
    #[inline(always)]
    #[must_use]
    pub const fn target(self) -> Option<MemberId> {
        let [first, second, third] = self.row.members();
        match self.hop {
            0 => Some(first),
            1 => Some(second),
            2 => Some(third),
            _ => None,
        }
    }

    /// The places from the hop on in the order of the walk, packed as a row: the lowest is the hop's own.
    #[inline(always)]
    #[must_use]
    pub const fn rest(self) -> u64 {
        let (row, gone) = match self.direction {
            Direction::FromOpener => (self.row, self.hop),
            Direction::ToOpener => (self.row.reversed(), LAST.wrapping_sub(self.hop)),
        };
        if gone > LAST { 0 } else { row.bits() >> (16 * gone) }
    }

    #[inline(always)]
    const fn first_byte(self) -> u8 {
        let direction = match self.direction {
            Direction::FromOpener => 0,
            Direction::ToOpener => 1,
        };
        VERSION << 4 | direction << 2 | (self.stand_ins & 3)
    }

    /// The chain as it lies in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn packed(self) -> PackedChain {
        let [first, second, third] = self.row.members();
        PackedChain(
            self.first_byte() as u64
                | (self.hop as u64) << HOP
                | (first.swap_bytes() as u64) << MEMBERS
                | (second.swap_bytes() as u64) << (MEMBERS + 16)
                | (third.swap_bytes() as u64) << (MEMBERS + 32),
        )
    }
}

/// Bit of the first byte: the packet is a fragment that its collector has seen, on its way with its flow.
const COLLECTED: u64 = 8;
const HOP: u32 = 8;
const MEMBERS: u32 = 16;

/// Bytes 0..8 of the private data as one little-endian word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct PackedChain(pub u64);

impl PackedChain {
    /// The version of the private data.
    #[inline(always)]
    #[must_use]
    pub const fn version(self) -> u8 {
        (self.0 as u8) >> 4
    }

    /// The chain that this stands for.
    #[inline(always)]
    #[must_use]
    pub const fn unpacked(self) -> Chain {
        let first = self.0 as u8;
        let direction = if first & 4 == 0 { Direction::FromOpener } else { Direction::ToOpener };
        let row = Row::new([self.member(0), self.member(1), self.member(2)]);
        Chain { row, direction, stand_ins: first & 3, hop: (self.0 >> HOP) as u8 }
    }

    /// The same for a fragment that its collector has seen.
    #[inline(always)]
    #[must_use]
    pub const fn collected(self) -> Self {
        Self(self.0 | COLLECTED)
    }

    /// Whether it is the chain of such a fragment. Without this, a fragment is on its way to its collector.
    #[inline(always)]
    #[must_use]
    pub const fn is_collected(self) -> bool {
        self.0 & COLLECTED != 0
    }

    /// The member at the hop, which must lie within the row.
    #[inline(always)]
    #[must_use]
    pub const fn target(self) -> MemberId {
        self.member((self.0 >> HOP) as u8)
    }

    /// The member at a place of the row.
    #[inline(always)]
    #[must_use]
    pub const fn member(self, place: u8) -> MemberId {
        ((self.0 >> (MEMBERS + 16 * (place & 3) as u32)) as MemberId).swap_bytes()
    }

    /// Whether the packet is at the first place of a row that has no other.
    #[inline(always)]
    #[must_use]
    pub const fn is_alone(self) -> bool {
        self.0 >> (MEMBERS + 16) == 0 && (self.0 >> HOP) as u8 == 0
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn walk(row: [MemberId; 3], direction: Direction) -> Vec<MemberId> {
        let mut chain = Chain::start(Row::new(row), direction);
        let mut asked = Vec::new();
        while let Some(member) = chain.target() {
            assert_eq!(chain.rest() as MemberId, member);
            asked.push(member);
            chain = chain.next();
        }
        assert_eq!(chain.rest(), 0, "nobody is left");
        assert!(asked.len() <= ROW_MEMBERS);
        asked
    }

    #[test]
    fn a_walk_asks_each_place_once() {
        assert_eq!(walk([7, 8, 9], Direction::FromOpener), [7, 8, 9]);
        assert_eq!(walk([7, 8, 9], Direction::ToOpener), [9, 8, 7]);
        assert_eq!(walk([7, 0, 0], Direction::ToOpener), [0, 0, 7]);
    }

    #[test]
    fn a_stand_in_takes_the_openers_place_and_is_asked_once() {
        for direction in [Direction::FromOpener, Direction::ToOpener] {
            let chain = |row, hop, stand_ins| Chain { row: Row::new(row), direction, stand_ins, hop };
            for (row, expected) in [
                ([7, 0, 0], Some([5, 0, 0])),
                ([7, 8, 9], Some([5, 8, 9])),
                ([7, 5, 9], Some([5, 0, 9])),
                ([7, 8, 5], Some([5, 8, 0])),
                ([5, 8, 0], None),
            ] {
                assert_eq!(chain(row, 0, 1).handed_to(5), expected.map(|row| chain(row, 0, 2)), "{row:?}");
            }
            assert_eq!(chain([7, 8, 9], 1, 0).handed_to(5), None, "not at the opener");
            assert_eq!(chain([7, 8, 9], 0, 0).handed_to(NO_MEMBER), None);
        }
    }

    #[test]
    fn two_that_stand_in_for_each_other_do_so_for_a_while() {
        let mut chain = Chain::to_opener(Row::of(7));
        let mut sent = 0;
        while let Some(next) = chain.handed_to(if chain.row.opener() == 7 { 8 } else { 7 }) {
            assert_eq!(next.packed().unpacked(), next);
            (chain, sent) = (next, sent + 1);
        }
        assert_eq!(sent, MAX_STAND_INS);
    }

    #[test]
    fn what_is_left_begins_at_the_hop() {
        let chain = |direction, hop| Chain { row: Row::new([7, 8, 9]), direction, stand_ins: 0, hop };
        assert_eq!(chain(Direction::FromOpener, 1).rest(), 9 << 16 | 8);
        assert_eq!(chain(Direction::ToOpener, 1).rest(), 7 << 16 | 8);
        assert!(Chain::to_opener(Row::of(7)).packed().is_alone());
        assert!(!chain(Direction::FromOpener, 0).packed().is_alone());
        for hop in [0, 1, 2] {
            let packed = chain(Direction::ToOpener, hop).packed();
            assert_eq!(packed.unpacked(), chain(Direction::ToOpener, hop));
            assert_eq!(Some(packed.target()), packed.unpacked().target());
        }
        let collected = Chain::to_opener(Row::of(7)).packed().collected();
        assert!(collected.is_collected() && !Chain::to_opener(Row::of(7)).packed().is_collected());
        assert_eq!(collected.unpacked(), Chain::to_opener(Row::of(7)), "the same chain");
        for hop in [3, 17, u8::MAX] {
            assert_eq!(chain(Direction::FromOpener, hop).rest(), 0);
            assert_eq!(chain(Direction::ToOpener, hop).rest(), 0);
        }
    }
}
