//! Where WebSocket frames begin and end (RFC 6455 section 5.2), as their bytes pass by. Pure.

/// A Close frame's opcode.
const CLOSE: u8 = 8;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const LENGTH: u8 = 0x7f;

/// "Going away": the status that a server gives which shuts down (RFC 6455 section 7.4.1).
const GOING_AWAY: [u8; 2] = 1001u16.to_be_bytes();

/// A Close frame to a client.
pub(super) const CLOSE_TO_CLIENT: [u8; 4] = [FIN | CLOSE, 2, GOING_AWAY[0], GOING_AWAY[1]];

/// A Close frame to a server, which takes only masked ones.
pub(super) fn close_to_server(mask: [u8; 4]) -> [u8; 8] {
    let [a, b, c, d] = mask;
    [FIN | CLOSE, MASKED | 2, a, b, c, d, GOING_AWAY[0] ^ a, GOING_AWAY[1] ^ b]
}

/// One direction's place in its frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frames {
    /// The first bytes of a head, up to its length.
    head: [u8; 10],
    filled: usize,
    /// Bytes to the end of the frame, once its length is known.
    left: Option<u64>,
    is_closed: bool,
}

impl Frames {
    /// These bytes have passed.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.take(bytes);
            bytes = &bytes[taken..];
        }
    }

    /// Whether the last frame is complete: another one may follow here, even within a message, if it is a Close.
    pub(super) fn is_between(&self) -> bool {
        self.filled == 0
    }

    /// Whether a Close frame has passed: no other may follow.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// How many of these bytes belong to the frame under way: all of them, if it does not end among them.
    pub(super) fn rest_of_frame(&self, bytes: &[u8]) -> usize {
        if self.is_between() { 0 } else { Self::take(&mut { *self }, bytes) }
    }

    /// Takes bytes up to the end of one frame, and says how many.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while self.left.is_none() {
            let Some(&byte) = bytes.get(taken) else { return taken };
            self.head[self.filled] = byte;
            self.filled += 1;
            taken += 1;
            self.left = self.length();
        }
        let left = self.left.unwrap_or_default();
        let now = left.min((bytes.len() - taken) as u64);
        self.left = Some(left - now);
        if left == now {
            self.is_closed |= self.head[0] & OPCODE == CLOSE;
            (self.filled, self.left) = (0, None);
        }
        taken + usize::try_from(now).unwrap_or(usize::MAX)
    }

    /// What follows the head's first bytes, mask included; `None` while they are not complete.
    fn length(&self) -> Option<u64> {
        let [_, second, long @ ..] = self.head;
        let (head, payload) = match second & LENGTH {
            126 => (4, u64::from(u16::from_be_bytes([long[0], long[1]]))),
            127 => (10, u64::from_be_bytes(long)),
            short => (2, u64::from(short)),
        };
        let mask = if second & MASKED == 0 { 0 } else { 4 };
        (self.filled >= head).then_some(payload.saturating_add(mask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, masked: bool, length: usize) -> Vec<u8> {
        let mask = if masked { MASKED } else { 0 };
        let mut frame = vec![FIN | opcode];
        match length {
            0..126 => frame.push(mask | length as u8),
            126..65_536 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.resize(frame.len() + length + if masked { 4 } else { 0 }, 0x88);
        frame
    }

    #[test]
    fn borders_are_found_however_the_bytes_come() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000];
        for masked in [false, true] {
            let frames: Vec<_> = lengths.iter().map(|length| frame(2, masked, *length)).collect();
            let all = frames.concat();
            let mut borders = vec![0];
            borders.extend(frames.iter().scan(0, |at, frame| {
                *at += frame.len();
                Some(*at)
            }));
            for piece in [1, 2, 3, 7, 4_096, all.len()] {
                let mut found = Frames::default();
                let mut at = 0;
                for bytes in all.chunks(piece) {
                    let next = borders.iter().find(|border| **border >= at).expect("the end is one");
                    assert_eq!(found.is_between(), *next == at, "at {at}");
                    assert_eq!(found.rest_of_frame(bytes), (next - at).min(bytes.len()), "at {at}");
                    found.advance(bytes);
                    at += bytes.len();
                }
                assert!(found.is_between() && !found.is_closed());
            }
        }
    }

    #[test]
    fn a_close_counts_when_it_is_complete() {
        let mut frames = Frames::default();
        frames.advance(&frame(1, false, 300));
        frames.advance(&CLOSE_TO_CLIENT[..3]);
        assert!(!frames.is_closed());
        frames.advance(&CLOSE_TO_CLIENT[3..]);
        assert!(frames.is_closed() && frames.is_between());
        let mut frames = Frames::default();
        frames.advance(&close_to_server([1, 2, 3, 4]));
        assert!(frames.is_closed() && frames.is_between());
    }
}
