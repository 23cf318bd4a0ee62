//! WebSocket frames (RFC 6455, 5.2) as the lab's clients and pods exchange them: whole messages, up to 64 KiB.

use bytes::{Buf, BytesMut};

/// Bytes of a message; longer ones are refused.
const LONGEST: usize = 65_535;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opcode {
    /// A message of bytes.
    Binary,
    /// The end, from either side.
    Close,
    /// Any other kind.
    Other(u8),
}

/// A frame, unmasked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// What it is.
    pub opcode: Opcode,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// Bytes that are no frame of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAFrame;

impl Message {
    /// Bytes.
    #[must_use]
    pub const fn binary(payload: Vec<u8>) -> Self {
        Self { opcode: Opcode::Binary, payload }
    }

    /// The end, with its status code (RFC 6455, 7.4).
    #[must_use]
    pub fn close(code: u16) -> Self {
        Self { opcode: Opcode::Close, payload: code.to_be_bytes().to_vec() }
    }

    /// The status code of an end; 1005 stands for none.
    #[must_use]
    pub fn close_code(&self) -> u16 {
        self.payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))
    }

    /// The frame; a client masks its own.
    ///
    /// # Panics
    /// If it is longer than frames of the lab are.
    #[must_use]
    pub fn frame(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let length = self.payload.len();
        assert!(length <= LONGEST, "a message of {length} bytes");
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut frame = vec![0x80 | self.opcode.bits()];
        match u8::try_from(length) {
            Ok(short) if short < 126 => frame.push(masked | short),
            _ => {
                frame.push(masked | 126);
                frame.extend((length as u16).to_be_bytes());
            }
        }
        frame.extend(mask.into_iter().flatten());
        let mask = mask.unwrap_or_default();
        frame.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    /// Takes the first frame off what was received; `None` if it is not all there yet.
    ///
    /// # Errors
    /// `NotAFrame` for what the lab's ends never send: parts of messages, reserved bits, great lengths.
    pub fn parse(received: &mut BytesMut) -> Result<Option<Self>, NotAFrame> {
        let &[first, second, ..] = &received[..] else { return Ok(None) };
        if first & 0xf0 != 0x80 || second & 0x7f == 127 {
            return Err(NotAFrame);
        }
        let (length, mut head) = match second & 0x7f {
            126 => match received.get(2..4) {
                Some(length) => (usize::from(u16::from_be_bytes([length[0], length[1]])), 4),
                None => return Ok(None),
            },
            short => (usize::from(short), 2),
        };
        let mut mask = [0; 4];
        if second & 0x80 != 0 {
            let Some(found) = received.get(head..head + 4) else { return Ok(None) };
            mask.copy_from_slice(found);
            head += 4;
        }
        let Some(payload) = received.get(head..head + length) else { return Ok(None) };
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        received.advance(head + length);
        Ok(Some(Self { opcode: Opcode::of(first & 0xf), payload }))
    }
}

impl Opcode {
    const fn of(bits: u8) -> Self {
        match bits {
            2 => Self::Binary,
            8 => Self::Close,
            other => Self::Other(other),
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Binary => 2,
            Self::Close => 8,
            Self::Other(bits) => bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written_in_parts_or_at_once() {
        for (length, mask) in [(0, None), (125, Some([1, 2, 3, 4])), (126, None), (40_000, Some([0xff; 4]))] {
            let message = Message::binary((0..length).map(|n| n as u8).collect());
            let frame = message.frame(mask);
            let mut part = BytesMut::from(&frame[..frame.len() - 1]);
            assert_eq!(Message::parse(&mut part), Ok(None), "{length}");
            part.extend_from_slice(&frame[frame.len() - 1..]);
            part.extend_from_slice(&Message::close(1001).frame(None));
            assert_eq!(Message::parse(&mut part), Ok(Some(message)));
            assert_eq!(Message::parse(&mut part).map(|close| close.map(|c| c.close_code())), Ok(Some(1001)));
            assert!(part.is_empty());
        }
    }

    #[test]
    fn the_frame_of_the_standard_is_read() {
        // RFC 6455, 5.7, with the opcode of bytes for that of text.
        let mut masked =
            BytesMut::from(&[0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58][..]);
        assert_eq!(Message::parse(&mut masked), Ok(Some(Message::binary(b"Hello".to_vec()))));
        assert_eq!(Message::parse(&mut BytesMut::from(&[0x02, 0x01, 0x00][..])), Err(NotAFrame));
    }
}
