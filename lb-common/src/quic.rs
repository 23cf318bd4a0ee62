//! QUIC connection IDs that name the member that made them, so that a connection's packets find it from any first
//! hop, whatever its client's address is by then. Fixed before anything makes them: golden bytes below.
//!
//! ```text
//!  0               1               2               3
//! +-----+---------+---------------+-------------------------------+
//! | rot |  nonce: 61 random bits                                  |
//! +-----+                                                         +
//! |                                                               |
//! +---------------------------------------------------------------+
//! |  body: member id and 48 bits of check, under a pad            |
//! +                                                               +
//! |                                                               |
//! +---------------------------------------------------------------+
//! ```
//!
//! The rotation bits say by which format and key an ID is to be read, as in QUIC-LB (draft-ietf-quic-load-balancers);
//! what they do not know goes where its flow goes. 7 stays nobody's, as there. All IDs are of one length, since a
//! short header does not tell it (RFC 9000, 5.1). Not QUIC-LB's own ciphers: BPF has no AES; and its IDs carry no check,
//! so that the random first ID of a client may name a member.
//!
//! With S = SipHash-2-4 of the first eight bytes, the body is S + member * M modulo 2^64, for a secret M = 1 modulo 2^16:
//! the lower 16 bits hold the member, the upper 48 its product with M's secret bits. Read as little-endian words.
//!
//! Why it resists, for whoever does not have the key:
//! - **Reading and linking**: under a fresh nonce S is as good as random, and so is the whole ID; the rotation bits are
//!   the same in all. (Two IDs with one nonce would show how their members differ: expected once in 2^30 IDs of a cluster.)
//! - **Making one**: under a new nonce the body minus S is as good as random, and right for 2^16 of 2^64. Whom it would name
//!   cannot be chosen.
//! - **Changing one** so that it names another member: that moves the product by M times the difference, of which at least 33
//!   bits are unknown. A chance of 2^-33 a packet, and then the sender's own connection is somewhere else.
//!
//! Whoever was given an ID can send it from anywhere, and reaches the member that made it, as whoever repeats a flow's
//! packets does. So that this opens nothing, a member must not take an Initial packet for a new connection if it bears an
//! ID of ours but no token.
//!
//! Opening one costs eight rounds of SipHash, and nothing in the packets of other services.

use crate::hash::FlowKey;
use crate::row::{MemberId, NO_MEMBER};
use crate::siphash;

/// Bytes of every connection ID.
pub const ID_LEN: usize = 16;

/// The rotation bits of this format with the cluster's key.
const ROTATION: u64 = 0;

/// Where they are in the first word.
const ROTATION_BITS: u64 = 0xe0;

/// A connection ID as it lies in the packet: two little-endian words. Right or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionId(pub [u64; 2]);

impl ConnectionId {
    /// One that names `member`. Of the nonce, which must be random, three bits are left out.
    #[inline(always)]
    #[must_use]
    pub const fn new(key: &FlowKey, member: MemberId, nonce: u64) -> Self {
        let head = nonce & !ROTATION_BITS | ROTATION << 5;
        Self([head, pad(key, head).wrapping_add(body(key, member))])
    }

    /// The member that it names; `NO_MEMBER` if it is none of ours.
    #[inline(always)]
    #[must_use]
    pub const fn member(self, key: &FlowKey) -> MemberId {
        let [head, sum] = self.0;
        if head & ROTATION_BITS != ROTATION << 5 {
            return NO_MEMBER;
        }
        let found = sum.wrapping_sub(pad(key, head));
        let member = found as MemberId;
        if found == body(key, member) { member } else { NO_MEMBER }
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn bytes(self) -> [u8; ID_LEN] {
        let [head, body] = self.0;
        (u128::from(head) | u128::from(body) << 64).to_le_bytes()
    }

    /// What these bytes of a packet are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; ID_LEN]) -> Self {
        let both = u128::from_le_bytes(bytes);
        Self([both as u64, (both >> 64) as u64])
    }
}

/// What hides the body.
#[inline(always)]
const fn pad(key: &FlowKey, head: u64) -> u64 {
    let [k0, k1, _] = key.of_ids();
    siphash::tag([k0, k1], [head])
}

/// A member with its check.
#[inline(always)]
const fn body(key: &FlowKey, member: MemberId) -> u64 {
    let [.., secret] = key.of_ids();
    (member as u64).wrapping_mul(secret << 16 | 1)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::hash::{GOLDEN_KEY as KEY, KEY_WORDS};
    use proptest::prelude::*;
    use std::vec::Vec;

    const NONCE: u64 = 0x1122_3344_5566_7788;

    #[test]
    fn golden_bytes() {
        let id = ConnectionId::new(&KEY, 0x0102, NONCE);
        let nonce = [0x08, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11];
        let body = [0x2b, 0x19, 0x31, 0x9f, 0x24, 0x4c, 0x1a, 0xb8];
        assert_eq!(id.bytes().as_slice(), [nonce, body].concat());
        assert_eq!(ConnectionId::from_bytes(id.bytes()), id);
    }

    #[test]
    fn each_bit_counts() {
        for member in [1, 2, 0x8000, u16::MAX] {
            let good = ConnectionId::new(&KEY, member, NONCE);
            assert_eq!(good.member(&KEY), member);
            for bit in 0..128 {
                let bytes = u128::from_le_bytes(good.bytes()) ^ 1 << bit;
                let found = ConnectionId::from_bytes(bytes.to_le_bytes()).member(&KEY);
                assert_eq!(found, NO_MEMBER, "{member}, bit {bit}");
            }
            assert_eq!(good.member(&FlowKey::new([3; KEY_WORDS])), NO_MEMBER, "another key");
        }
    }

    /// Each bit behind the rotation bits is as often set as not, whether members are equal or nonces count up.
    #[test]
    fn ids_look_random() {
        const IDS: u64 = 4_096;
        let ids: Vec<u128> = (0..IDS)
            .map(|n| u128::from_le_bytes(ConnectionId::new(&KEY, 1 + (n & 1) as u16, n).bytes()))
            .collect();
        for bit in 64..128 {
            let set = ids.iter().filter(|&id| id >> bit & 1 == 1).count() as f64;
            // Six standard deviations.
            assert!((set - IDS as f64 / 2.0).abs() < 6.0 * 32.0, "bit {bit}: {set} of {IDS}");
        }
    }

    proptest! {
        #[test]
        fn every_id_names_its_member(words: [u64; KEY_WORDS], member: u16, nonce: u64) {
            let key = FlowKey::new(words);
            prop_assert_eq!(ConnectionId::new(&key, member, nonce).member(&key), member);
        }

        #[test]
        fn what_others_make_names_nobody(bytes: [u8; ID_LEN]) {
            prop_assert_eq!(ConnectionId::from_bytes(bytes).member(&KEY), NO_MEMBER);
        }
    }
}
