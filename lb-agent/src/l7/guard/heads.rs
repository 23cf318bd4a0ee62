//! Where the frames of HTTP/2 begin, and what their heads say (RFC 9113 section 4.1). Pure.

use crate::l7::limits::Limit;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// Length of the connection preface.
const PREFACE: u32 = 24;
const HEAD: usize = 9;

/// The head of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Of its payload.
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
}

/// One direction's place in its frames.
#[derive(Default, Debug)]
pub(super) struct Heads {
    head: [u8; HEAD],
    filled: usize,
    /// Bytes that are no head.
    left: u32,
}

impl Heads {
    /// Before the preface.
    pub(super) fn of_client() -> Self {
        Self { left: PREFACE, ..Self::default() }
    }

    /// Whether a head has begun and not ended.
    pub(super) const fn is_in_head(&self) -> bool {
        self.filled > 0
    }

    /// Whether a payload, or the preface, has not ended.
    pub(super) const fn is_in_payload(&self) -> bool {
        self.left > 0
    }

    /// The next head that is complete; the bytes up to its end are taken. None where all are taken.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Head> {
        let skipped = (self.left as usize).min(bytes.len());
        // No more than `left`.
        self.left -= skipped as u32;
        *bytes = &bytes[skipped..];
        let taken = (HEAD - self.filled).min(bytes.len());
        self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        *bytes = &bytes[taken..];
        if self.filled < HEAD {
            return None;
        }
        self.filled = 0;
        let [a, b, c, kind, flags, ..] = self.head;
        self.left = u32::from_be_bytes([0, a, b, c]);
        Some(Head { length: self.left, kind, flags })
    }
}

/// The field `:status: 431` as an encoder has it that did not have it before (RFC 7541 section 6.2.1). It is all that the
/// HTTP library says to a request whose headers are too long; its answer may begin with new sizes of the table.
const LARGE_HEAD: [u8; 5] = [0x48, 0x83, 0x69, 0x90, 0xff];
const LONGEST_ANSWER: usize = LARGE_HEAD.len() + 8;

/// The limits for which the HTTP library ends a connection by itself, as it names them to the client, behind a stream and a
/// code; to us it says nothing of it.
const LAST_WORDS: [(&[u8], Limit); 5] = [
    (b"header_list_way_too_large", Limit::Http2HeaderListBytes),
    (b"too_many_continuations", Limit::Http2HeaderFrames),
    (b"too_many_data_frames", Limit::Http2EmptyData),
    (b"too_many_internal_resets", Limit::Http2LocalResets),
    (b"too_many_resets", Limit::Http2PendingResets),
];
const BEFORE_WORDS: usize = 8;
const LONGEST_WORDS: usize = BEFORE_WORDS + LAST_WORDS[0].0.len();

/// The code with which it resets a stream whose client sent what makes no message (RFC 9113 section 8.1.1). We say it of no
/// stream.
const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];

/// What the HTTP library refused by itself.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(in crate::l7) struct Refused {
    /// The limit that was met, for which the connection ends.
    pub(in crate::l7) limit: Option<Limit>,
    /// So many messages that are none.
    pub(in crate::l7) messages: u32,
}

impl Refused {
    /// The same with more.
    pub(super) fn and(self, more: Self) -> Self {
        let messages = self.messages.saturating_add(more.messages);
        Self { limit: self.limit.or(more.limit), messages }
    }
}

/// Looks at what we answer, for what the HTTP library answers by itself and does not tell.
#[derive(Debug)]
pub(super) struct Status {
    heads: Heads,
    /// What came of a payload that may be such an answer, and how much there is to come; the kind of its frame.
    payload: [u8; LONGEST_WORDS],
    filled: usize,
    wanted: usize,
    kind: u8,
    refused: Refused,
}

impl Default for Status {
    fn default() -> Self {
        let heads = Heads::default();
        Self {
            heads,
            payload: [0; LONGEST_WORDS],
            filled: 0,
            wanted: 0,
            kind: 0,
            refused: Refused::default(),
        }
    }
}

impl Status {
    /// These bytes pass.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        loop {
            let taken = (self.wanted - self.filled).min(bytes.len());
            self.payload[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            if self.wanted > 0 && self.filled == self.wanted {
                self.refused = self.refused.and(refused(self.kind, &self.payload[..self.wanted]));
                (self.filled, self.wanted) = (0, 0);
            }
            let Some(head) = self.heads.next(&mut bytes) else { return };
            let (length, is_whole) = (head.length as usize, head.flags == END_HEADERS | END_STREAM);
            let may_be = match head.kind {
                HEADERS => is_whole && length <= LONGEST_ANSWER,
                RST_STREAM => length == PROTOCOL_ERROR.len(),
                GOAWAY => length > BEFORE_WORDS && length <= LONGEST_WORDS,
                _ => false,
            };
            if may_be {
                (self.kind, self.wanted) = (head.kind, length);
            }
        }
    }

    /// What it answered so since this was asked last.
    pub(super) fn refused(&mut self) -> Refused {
        std::mem::take(&mut self.refused)
    }
}

/// What the payload of a frame of this kind says that may be such an answer.
fn refused(kind: u8, payload: &[u8]) -> Refused {
    let limit = match kind {
        HEADERS => payload.ends_with(&LARGE_HEAD).then_some(Limit::Http2HeaderListBytes),
        GOAWAY => {
            let named = |(words, _): &(&[u8], _)| *words == &payload[BEFORE_WORDS..];
            LAST_WORDS.into_iter().find(named).map(|(_, limit)| limit)
        }
        _ => None,
    };
    Refused { limit, messages: u32::from(kind == RST_STREAM && payload == PROTOCOL_ERROR) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("short");
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn check(frames: &[Vec<u8>], limit: Option<Limit>, messages: u32) {
        let bytes = frames.concat();
        for size in 1..=bytes.len() {
            let mut status = Status::default();
            bytes.chunks(size).for_each(|part| status.advance(part));
            assert_eq!(status.refused(), Refused { limit, messages }, "{size} bytes at a time");
            assert_eq!(status.refused(), Refused::default(), "it is said once");
        }
    }

    #[test]
    fn an_answer_of_the_library_is_found_however_it_is_cut() {
        let (both, large) = (END_HEADERS | END_STREAM, Some(Limit::Http2HeaderListBytes));
        let answer = frame(HEADERS, both, &LARGE_HEAD);
        let data = frame(DATA, END_STREAM, &LARGE_HEAD);
        check(std::slice::from_ref(&answer), large, 0);
        check(&[data.clone(), answer.clone(), data.clone()], large, 0);
        check(&[frame(HEADERS, both, &[&[0x3f, 0xe1, 0x1f][..], &LARGE_HEAD].concat())], large, 0);
        check(&[data, frame(HEADERS, both, &[0x88]), frame(HEADERS, END_HEADERS, &LARGE_HEAD)], None, 0);
        for (words, limit) in LAST_WORDS {
            let last = [&[0, 0, 0, 1, 0, 0, 0, 11][..], words].concat();
            check(&[frame(DATA, 0, &last), frame(GOAWAY, 0, &last)], Some(limit), 0);
            check(&[frame(DATA, 0, &last), frame(GOAWAY, 0, &last[..8])], None, 0);
            check(&[frame(GOAWAY, 0, &[&last[..], b"s"].concat())], None, 0);
        }
        let reset = |code| frame(RST_STREAM, 0, &[0, 0, 0, code]);
        check(&[reset(1), reset(8), reset(1)], None, 2);
        check(&[frame(DATA, 0, &PROTOCOL_ERROR), reset(7)], None, 0);
        // One of ours says more.
        check(&[frame(HEADERS, both, &[&LARGE_HEAD[..], &[0x61; 20]].concat())], None, 0);
    }
}
