//! The wire format of probes, by which members notice each other's silence: GUE control messages (C bit set,
//! draft-ietf-intarea-gue) on the encapsulation's port, of which all is private data. Final from the first version
//! on: golden bytes below.
//!
//! ```text
//!  0               1               2               3
//! +-------+-+-----+---------------+-------------------------------+
//! |0 0|1|hlen = 13|  type = 0x80  |  flags = 0                    |  GUE; the type is one of those for own use
//! +-------+-+-----+---------------+-------------------------------+
//! |  version      |  kind         |  state bits   |  0            |  private data
//! +---------------+---------------+---------------+---------------+
//! |  cluster id                                                   |
//! +-------------------------------+-------------------------------+
//! |  from (member id)             |  to (member id)               |  0: a node that is no member
//! +-------------------------------+-------------------------------+
//! |  sequence (64 bits)                                           |
//! +---------------------------------------------------------------+
//! |  membership in force                                          |  fingerprints of memberships; 0 for none
//! +---------------------------------------------------------------+
//! |  needed former memberships (three)                            |
//! |                                                               |
//! |                                                               |
//! +---------------------------------------------------------------+
//! |  room                                                         |
//! +---------------+-----------------------------------------------+
//! |  seen by XDP  |  0            |  inner MTU                    |
//! +---------------+-----------------------------------------------+
//! |  tag (64 bits): keyed, over all above with "seen" as 0        |
//! +---------------------------------------------------------------+
//! ```
//! An `Inquiry` is a message of the same shape with another kind.
//!
//! The receiver's XDP program stamps "seen by XDP": whatever the sender wrote there is gone when the receiver's
//! agent reads it, and an agent that finds no stamp knows that its own packet path is not there.
//!
//! The tag is SipHash-2-4 and not the flow hash's mixer: a message is one of ten a second and may take 100 ns, and
//! here, unlike with clients' packets, every bit is in the hands of whoever forges it. It holds against those who
//! send without the key, and against those who have seen any number of messages: their chance is 2^-64 each. What
//! was seen can be sent again; so an answer carries the sequence that was asked for, which an agent begins at a random
//! number, and what a member says of itself is believed of such answers alone.

mod inquiry;

pub use inquiry::Inquiry;

use crate::encap::HeaderError;
use crate::hash::FlowKey;
use crate::row::MemberId;
use crate::siphash;

/// This version of the private data.
pub const VERSION: u8 = 1;

/// Bytes of a message, from the GUE header on. What follows is padding, and its receiver's agent does not read it.
pub const LEN: usize = WORDS * 8;

/// Where the stamp stands in it, with a byte that is 0 behind it.
pub const STAMP: usize = 44;

/// What the receiver's XDP program stamps, as the two bytes at `STAMP`.
pub const STAMPED: [u8; 2] = [1, 0];

/// A message as little-endian words; the last one is the tag.
const WORDS: usize = 7;

/// The stamp in word 5.
const STAMP_MASK: u64 = 0xff << 32;

/// First byte of the GUE header: variant 0, control message, 13 words of private data.
const GUE_FIRST: u8 = CONTROL | ((LEN - 4) / 4) as u8;

/// The bit of the GUE header's first byte that tells control messages from data.
const CONTROL: u8 = 0x20;

/// The type of control message.
const TYPE: u8 = 0x80;

/// Whether a message is asked or answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// To be answered at once.
    Ask,
    /// To the ask with the same sequence.
    Answer,
    /// Whether the receiver has a flow: an `Inquiry`.
    AskFlow,
    /// To the `AskFlow` with the same sequence.
    AnswerFlow,
}

/// `Kind`s as a message spells them.
const ASK: u8 = 1;
const ANSWER: u8 = 2;
const ASK_FLOW: u8 = 3;
const ANSWER_FLOW: u8 = 4;

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Ask => ASK,
            Self::Answer => ANSWER,
            Self::AskFlow => ASK_FLOW,
            Self::AnswerFlow => ANSWER_FLOW,
        }
    }
}

/// Bits of a message's state.
mod state {
    /// The sender takes no new flows.
    pub(super) const DRAINING: u8 = 1;
    /// Its flows need the former memberships that the message names, and no others.
    pub(super) const COUNTED: u8 = 2;
    /// The receiver is down for the sender.
    pub(super) const DOWN: u8 = 4;
    /// The sender was away.
    pub(super) const AWAY: u8 = 8;
}

/// Former memberships that a message has room for.
pub const MOST_NEEDED: usize = 3;

/// What a member says of itself with each probe. A membership is told by a fingerprint that is the same on all nodes,
/// never 0. Fingerprints of 32 bits will do: where two are alike, a membership stays longer than it has to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    /// Whether it is draining: it takes no new flows.
    pub is_draining: bool,
    /// The membership by which its kernel opens flows; 0 for none.
    pub in_force: u32,
    /// The former memberships that its flows need, with 0 where there are fewer; `None` while it does not know, or
    /// where there are more.
    pub needed: Option<[u32; MOST_NEEDED]>,
    /// How many more flows it can take; `u32::MAX` where it knows no bound.
    pub room: u32,
    /// Bytes of a client's largest packet that each of its ways to other members takes; 0 where it does not know.
    pub inner_mtu: u16,
    /// Whether flows that were its own to take may live elsewhere still: it was away, or its packet path went without
    /// its agent.
    pub was_away: bool,
}

impl Default for Said {
    fn default() -> Self {
        Self { is_draining: false, in_force: 0, needed: None, room: u32::MAX, inner_mtu: 0, was_away: false }
    }
}

/// A probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Asked or answered.
    pub kind: Kind,
    /// The sender.
    pub from: MemberId,
    /// The member that it is for.
    pub to: MemberId,
    /// The sender's cluster.
    pub cluster: u32,
    /// Of the ask.
    pub sequence: u64,
    /// What the sender says of itself.
    pub said: Said,
    /// Whether the receiver is down for the sender: flows that were the receiver's to take have opened elsewhere.
    pub is_down: bool,
}

/// A probe as it lies in the packet: read and written as words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message([u64; WORDS]);

const _: () = assert!(size_of::<Message>() == LEN);

/// Whether a GUE header that begins with this byte is a control message.
#[inline(always)]
#[must_use]
pub const fn is_control(gue_first: u8) -> bool {
    gue_first & CONTROL != 0
}

impl Message {
    /// The message of `probe`, with its tag, not stamped.
    #[must_use]
    pub const fn new(probe: &Probe, key: &FlowKey) -> Self {
        let said = &probe.said;
        let kind = probe.kind.code();
        let (counted, [n0, n1, n2]) = match said.needed {
            Some(needed) => (state::COUNTED, needed),
            None => (0, [0; MOST_NEEDED]),
        };
        let draining = if said.is_draining { state::DRAINING } else { 0 };
        let down = if probe.is_down { state::DOWN } else { 0 };
        let away = if said.was_away { state::AWAY } else { 0 };
        let state = draining | counted | down | away;
        let words = [
            head(kind, state),
            members(probe.cluster, probe.from, probe.to),
            probe.sequence.swap_bytes(),
            pair(said.in_force, n0),
            pair(n1, n2),
            said.room.swap_bytes() as u64 | (said.inner_mtu.swap_bytes() as u64) << 48,
            0,
        ];
        Self(words).tagged(key)
    }

    const fn tagged(self, key: &FlowKey) -> Self {
        let [w0, w1, w2, w3, w4, w5, _] = self.0;
        Self([w0, w1, w2, w3, w4, w5, self.tag(key)])
    }

    /// The message that lies in a packet as these words, little-endian ones.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u64; WORDS]) -> Self {
        Self(words)
    }

    /// The message that came over the wire; `None` if it has another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks::<8>() else { return None };
        let words: [_; WORDS] = words.try_into().ok()?;
        Some(Self(words.map(u64::from_le_bytes)))
    }

    /// The message as it goes over the wire.
    #[must_use]
    pub fn bytes(&self) -> [u8; LEN] {
        let mut all = [0; LEN];
        for (to, word) in all.chunks_exact_mut(8).zip(self.0) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        all
    }

    /// Whether it is asked or answered.
    ///
    /// # Errors
    /// `HeaderError` if this is no message that this version writes.
    #[inline(always)]
    pub const fn kind(&self) -> Result<Kind, HeaderError> {
        let first = self.0[0];
        if first as u32 != u32::from_le_bytes([GUE_FIRST, TYPE, 0, 0]) {
            return Err(HeaderError::NotGue);
        }
        match ((first >> 32) as u8, (first >> 40) as u8) {
            (VERSION, ASK) => Ok(Kind::Ask),
            (VERSION, ANSWER) => Ok(Kind::Answer),
            (VERSION, ASK_FLOW) => Ok(Kind::AskFlow),
            (VERSION, ANSWER_FLOW) => Ok(Kind::AnswerFlow),
            (VERSION, _) => Err(HeaderError::NotGue),
            _ => Err(HeaderError::Version),
        }
    }

    /// Whether it is of this kind; of one that is no message of this version, too.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, kind: Kind) -> bool {
        (self.0[0] >> 40) as u8 == kind.code()
    }

    /// The cluster that it belongs to.
    #[inline(always)]
    #[must_use]
    pub const fn cluster(&self) -> u32 {
        (self.0[1] as u32).swap_bytes()
    }

    /// The member that says it sent it.
    #[inline(always)]
    #[must_use]
    pub const fn from(&self) -> MemberId {
        ((self.0[1] >> 32) as u16).swap_bytes()
    }

    /// The member that it is for.
    #[inline(always)]
    #[must_use]
    pub const fn to(&self) -> MemberId {
        ((self.0[1] >> 48) as u16).swap_bytes()
    }

    /// Whether the tag is right.
    #[inline(always)]
    #[must_use]
    pub const fn is_tagged(&self, key: &FlowKey) -> bool {
        self.0[WORDS - 1] == self.tag(key)
    }

    /// Whether the receiver's XDP program has seen it.
    #[must_use]
    pub const fn is_stamped(&self) -> bool {
        self.0[5] & STAMP_MASK == (STAMPED[0] as u64) << 32
    }

    /// What it says, if it is a probe that this version writes.
    ///
    /// # Errors
    /// As `kind`.
    pub const fn probe(&self) -> Result<Probe, HeaderError> {
        let kind = match self.kind() {
            Ok(kind @ (Kind::Ask | Kind::Answer)) => kind,
            Ok(Kind::AskFlow | Kind::AnswerFlow) => return Err(HeaderError::NotGue),
            Err(error) => return Err(error),
        };
        let [first, _, sequence, one, two, room, _] = self.0;
        let state = (first >> 48) as u8;
        let ((in_force, n0), (n1, n2)) = (halves(one), halves(two));
        let said = Said {
            is_draining: state & state::DRAINING != 0,
            in_force,
            needed: if state & state::COUNTED != 0 { Some([n0, n1, n2]) } else { None },
            room: (room as u32).swap_bytes(),
            inner_mtu: ((room >> 48) as u16).swap_bytes(),
            was_away: state & state::AWAY != 0,
        };
        let (sequence, is_down) = (sequence.swap_bytes(), state & state::DOWN != 0);
        Ok(Probe { kind, from: self.from(), to: self.to(), cluster: self.cluster(), sequence, said, is_down })
    }

    #[inline(always)]
    const fn tag(&self, key: &FlowKey) -> u64 {
        let [w0, w1, w2, w3, w4, w5, _] = self.0;
        siphash::tag(key.of_probes(), [w0, w1, w2, w3, w4, w5 & !STAMP_MASK])
    }
}

/// The first word.
const fn head(kind: u8, state: u8) -> u64 {
    u64::from_le_bytes([GUE_FIRST, TYPE, 0, 0, VERSION, kind, state, 0])
}

/// The second word.
const fn members(cluster: u32, from: MemberId, to: MemberId) -> u64 {
    let members = from.swap_bytes() as u64 | (to.swap_bytes() as u64) << 16;
    cluster.swap_bytes() as u64 | members << 32
}

/// Two numbers as they lie in a word, the first one first.
const fn pair(first: u32, second: u32) -> u64 {
    first.swap_bytes() as u64 | (second.swap_bytes() as u64) << 32
}

/// The same back.
const fn halves(word: u64) -> (u32, u32) {
    ((word as u32).swap_bytes(), ((word >> 32) as u32).swap_bytes())
}

#[cfg(test)]
mod tests;
