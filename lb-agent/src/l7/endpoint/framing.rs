//! Where a response's body ends, and what of it can be passed on. Pure.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::SizeHint;

use super::chunks::Chunks;
use crate::l7::breach::Breach;

/// Read of a body at once.
const BODY_ROOM: usize = 64 * 1024;

/// The same, where nobody knows how much is to come.
pub(super) const UNKNOWN_ROOM: usize = 16 * 1024;

/// How a response's body is framed, and what of it is to come.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// There is none, or no more.
    None,
    /// So many bytes.
    Length(u64),
    Chunks(Box<Chunks>),
    /// All that comes.
    UntilClose,
}

/// What to do next.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Step {
    Part(Bytes),
    Trailers(HeaderMap),
    End,
    /// Read on, so much at most.
    More(usize),
}

impl Framing {
    /// Takes what can be passed on out of what came.
    pub(super) fn step(&mut self, received: &mut BytesMut) -> Result<Step, Breach> {
        match self {
            Self::None => Ok(Step::End),
            Self::Length(left) => {
                let now = (*left).min(received.len() as u64);
                if now == 0 {
                    return Ok(Step::More(room_for(*left)));
                }
                // No more than there are.
                let part = received.split_to(now as usize).freeze();
                self.pass(part.len());
                Ok(Step::Part(part))
            }
            Self::Chunks(chunks) => {
                let step = chunks.step(received)?;
                if matches!(step, Step::Trailers(_) | Step::End) {
                    *self = Self::None;
                }
                Ok(step)
            }
            Self::UntilClose => Ok(match received.len() {
                0 => Step::More(UNKNOWN_ROOM),
                _ => Step::Part(received.split().freeze()),
            }),
        }
    }

    /// How much is to come, if that is all that is to be known.
    pub(super) fn known(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            _ => None,
        }
    }

    /// So much of it went another way, and no more than there was to come.
    pub(super) fn pass(&mut self, bytes: usize) {
        if let Self::Length(left) = self {
            *left = left.saturating_sub(bytes as u64);
            if *left == 0 {
                *self = Self::None;
            }
        }
    }

    /// What is known of the rest.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Chunks(_) | Self::UntilClose => SizeHint::default(),
        }
    }
}

/// For so many bytes that are known to come.
pub(super) fn room_for(left: u64) -> usize {
    usize::try_from(left).map_or(BODY_ROOM, |left| left.min(BODY_ROOM))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a body that comes so, and how it ends.
    fn read(mut framing: Framing, came: &[u8], at_a_time: usize) -> (Vec<u8>, Result<Step, Breach>, usize) {
        let (mut received, mut body) = (BytesMut::new(), Vec::new());
        let mut came = came.chunks(at_a_time);
        loop {
            match framing.step(&mut received) {
                Ok(Step::Part(part)) => body.extend_from_slice(&part),
                Ok(Step::More(room)) => match came.next() {
                    Some(more) => received.extend_from_slice(more),
                    None => return (body, Ok(Step::More(room)), received.len()),
                },
                end => return (body, end, received.len() + came.map(<[u8]>::len).sum::<usize>()),
            }
        }
    }

    #[test]
    fn a_body_ends_where_it_says() {
        for at_a_time in [1, 3, 100] {
            let (body, end, left) = read(Framing::Length(4), b"halfHTTP/1.1", at_a_time);
            assert_eq!((&body[..], end, left), (&b"half"[..], Ok(Step::End), 8));
            let (body, end, _) = read(Framing::Length(9), b"half", at_a_time);
            assert_eq!((&body[..], end), (&b"half"[..], Ok(Step::More(5))));
            let (body, end, _) = read(Framing::UntilClose, b"all of it", at_a_time);
            assert_eq!((&body[..], end), (&b"all of it"[..], Ok(Step::More(UNKNOWN_ROOM))));
        }
        assert_eq!(room_for(u64::MAX), BODY_ROOM);
    }

    fn chunks(came: &str, expected: &str, end: Result<Step, Breach>, left: usize) {
        for at_a_time in [1, 2, 5, 1000] {
            let found = read(Framing::Chunks(Box::default()), came.as_bytes(), at_a_time);
            let (body, found, rest) = found;
            let is_same = match &end {
                Ok(Step::More(_)) => matches!(found, Ok(Step::More(_))),
                end => found == *end && (end.is_err() || rest == left),
            };
            assert!(is_same, "{came:?}, {at_a_time} bytes at a time: {found:?}, {rest} left");
            assert!(body == expected.as_bytes(), "{came:?}");
        }
    }

    #[test]
    fn chunks_are_taken_out_of_their_frames() {
        let more = || Ok(Step::More(0));
        chunks("4\r\nhalf\r\n5;x=y\r\n more\r\n0\r\n\r\nHTTP", "half more", Ok(Step::End), 4);
        chunks(
            "000a\r\n0123456789\r\nA  \r\n0123456789\r\n0\r\n\r\n",
            &"0123456789".repeat(2),
            Ok(Step::End),
            0,
        );
        chunks("4\r\nhalf\r\n", "half", more(), 0);
        chunks("4\r\nhalf\r\n0\r\nx: y\r\n", "half", more(), 0);
        let trailers = |fields: &[(&'static str, &'static str)]| {
            let fields = fields.iter();
            Ok(Step::Trailers(
                fields
                    .map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value")))
                    .collect(),
            ))
        };
        chunks(
            "0\r\nX-Sum: 7\r\nHost: b\r\nKeep-Alive: timeout=5\r\ny:  z\r\n\r\n",
            "",
            trailers(&[("x-sum", "7"), ("y", "z")]),
            0,
        );
        let malformed = || Err(Breach::MalformedBody);
        for came in [
            "x\r\n",
            "\r\n\r\n",
            "4\nhalf",
            "-1\r\n",
            "1234567890123456\r\n",
            "0\r\n x: y\r\n\r\n",
            "0\r\nx y\r\n\r\n",
        ] {
            chunks(came, "", malformed(), 0);
        }
        chunks("4\r\nhalf and more\r\n0\r\n\r\n", "half", malformed(), 0);
        let whole = format!("0\r\nx: {}\r\n\r\n", "y".repeat(20_000));
        chunks(&whole, "", malformed(), 0);
        chunks(&format!("1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(20_000)), "", malformed(), 0);
        for endless in ["4;".to_owned() + &"x".repeat(20_000), "0\r\nx: ".to_owned() + &"y".repeat(20_000)] {
            chunks(&endless, "", malformed(), 0);
        }
        chunks(&"1;xxxxxxxxxx\r\ny\r\n".repeat(2_000), &"y".repeat(1_489), malformed(), 0);
    }
}
