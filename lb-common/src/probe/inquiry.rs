//! A question among members about one flow, as a message of the same length, tag and stamp as a probe: whether the
//! receiver's kernel has its connection. The flow is told by its keyed hash, so there is room for it whatever its family.
//!
//! ```text
//! |  version      |  kind         |  state: has it|  0            |  private data
//! |  cluster id, from, to, sequence (64 bits)                     |  as in a probe
//! |  flow hash (64 bits)                                          |
//! |  0 (64 bits)                                                  |
//! |  0 (32 bits), seen by XDP, 0, tag (64 bits)                   |  as in a probe
//! ```
//! An answer is as long as what it answers, and goes to where the asker is known to be: nobody is made to send more, or
//! elsewhere. One that is sent again by others fits no question that is open.

use super::{ANSWER_FLOW, ASK_FLOW, Kind, Message, WORDS, head, members};
use crate::encap::HeaderError;
use crate::hash::FlowKey;
use crate::row::MemberId;

/// The bit of an answer's state: the sender has the flow.
const HAS: u8 = 1;

/// A question about a flow, or its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inquiry {
    /// The sender.
    pub from: MemberId,
    /// The member that it is for.
    pub to: MemberId,
    /// The sender's cluster.
    pub cluster: u32,
    /// Of the question.
    pub sequence: u64,
    /// The flow's hash.
    pub flow: u64,
    /// Whether the sender has it; `None` for the question.
    pub has: Option<bool>,
}

impl Message {
    /// The message of `inquiry`, with its tag, not stamped.
    #[must_use]
    pub const fn of_inquiry(inquiry: &Inquiry, key: &FlowKey) -> Self {
        let (kind, state) = match inquiry.has {
            None => (ASK_FLOW, 0),
            Some(false) => (ANSWER_FLOW, 0),
            Some(true) => (ANSWER_FLOW, HAS),
        };
        let Inquiry { from, to, cluster, sequence, flow, .. } = *inquiry;
        let words: [u64; WORDS] = [
            head(kind, state),
            members(cluster, from, to),
            sequence.swap_bytes(),
            flow.swap_bytes(),
            0,
            0,
            0,
        ];
        Self(words).tagged(key)
    }

    /// What it asks or answers, if it is an inquiry.
    ///
    /// # Errors
    /// As `kind`.
    pub const fn inquiry(&self) -> Result<Inquiry, HeaderError> {
        let [first, _, sequence, flow, ..] = self.0;
        let has = match self.kind() {
            Ok(Kind::AskFlow) => None,
            Ok(Kind::AnswerFlow) => Some((first >> 48) as u8 & HAS != 0),
            Ok(_) => return Err(HeaderError::NotGue),
            Err(error) => return Err(error),
        };
        let (sequence, flow) = (sequence.swap_bytes(), flow.swap_bytes());
        Ok(Inquiry { from: self.from(), to: self.to(), cluster: self.cluster(), sequence, flow, has })
    }
}

#[cfg(test)]
mod tests {
    use super::super::LEN;
    use super::*;
    use crate::hash::GOLDEN_KEY as KEY;

    const INQUIRY: Inquiry = Inquiry {
        from: 0x0102,
        to: 0x0304,
        cluster: 0x0506_0708,
        sequence: 0x1112_1314_1516_1718,
        flow: 0x2122_2324_2526_2728,
        has: Some(true),
    };

    #[test]
    fn golden_bytes() {
        let bytes = Message::of_inquiry(&INQUIRY, &KEY).bytes();
        let expected = [
            0x2d, 0x80, 0, 0, // GUE
            1, 4, 1, 0, // version, kind, state
            5, 6, 7, 8, // cluster
            1, 2, 3, 4, // from, to
            0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, // sequence
            0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, // flow
        ];
        assert_eq!(bytes[..expected.len()], expected);
        assert_eq!(bytes[expected.len()..LEN - 8], [0; 16]);
    }

    #[test]
    fn a_message_gives_back_what_it_was_made_of() {
        for has in [None, Some(false), Some(true)] {
            let inquiry = Inquiry { has, ..INQUIRY };
            let message = Message::of_inquiry(&inquiry, &KEY);
            assert_eq!(message.inquiry(), Ok(inquiry));
            assert_eq!(message.probe(), Err(HeaderError::NotGue), "nor is it a probe");
            assert!(message.is_tagged(&KEY) && !message.is_stamped());
        }
    }
}
