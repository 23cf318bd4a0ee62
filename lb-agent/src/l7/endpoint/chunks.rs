//! The chunks of a response's body (RFC 9112 section 7.1). Pure.

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::framing::{Step, UNKNOWN_ROOM, room_for};
use crate::l7::breach::Breach;
use crate::l7::line;

/// Bytes of one response that are neither its body nor its frames' own: extensions; or trailers.
const MOST: usize = 16 * 1024;

/// What is read beyond a chunk: its end, and the size of the next one.
const BEYOND: usize = 32;

/// The place within them.
#[derive(PartialEq, Eq, Default, Debug)]
pub(super) struct Chunks {
    at: At,
    extensions: usize,
}

#[derive(PartialEq, Eq, Default, Debug)]
enum At {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
}

impl Chunks {
    /// Takes what can be passed on out of what came.
    pub(super) fn step(&mut self, received: &mut BytesMut) -> Result<Step, Breach> {
        loop {
            let has_moved = match self.at {
                At::Size => self.take_size(received)?,
                At::Data(left) => {
                    let now = left.min(received.len() as u64);
                    if now == 0 {
                        return Ok(Step::More(room_for(left) + BEYOND));
                    }
                    self.at = if now == left { At::DataEnd } else { At::Data(left - now) };
                    // No more than there are.
                    return Ok(Step::Part(received.split_to(now as usize).freeze()));
                }
                At::DataEnd => self.take_end(received)?,
                At::Trailers => return take_trailers(received),
            };
            if !has_moved {
                return Ok(Step::More(UNKNOWN_ROOM));
            }
        }
    }

    fn take_size(&mut self, received: &mut BytesMut) -> Result<bool, Breach> {
        let end = memchr::memchr(b'\n', received);
        // The same however it comes: in one piece or byte by byte.
        if self.extensions + end.map_or(received.len(), |end| end + 1) > MOST {
            return Err(Breach::MalformedBody);
        }
        let Some(end) = end else { return Ok(false) };
        let text = line::text(&received[..=end]).map_err(|_| Breach::MalformedBody)?;
        // There are servers that pad it.
        let (size, extensions) = line::chunk(text.trim_ascii_end()).map_err(|_| Breach::MalformedBody)?;
        self.extensions += extensions;
        received.advance(end + 1);
        self.at = if size == 0 { At::Trailers } else { At::Data(size) };
        Ok(true)
    }

    fn take_end(&mut self, received: &mut BytesMut) -> Result<bool, Breach> {
        match received.first_chunk() {
            Some(b"\r\n") => {
                received.advance(2);
                self.at = At::Size;
                Ok(true)
            }
            Some(_) => Err(Breach::MalformedBody),
            None => Ok(false),
        }
    }
}

fn take_trailers(received: &mut BytesMut) -> Result<Step, Breach> {
    if received.starts_with(b"\r\n") {
        received.advance(2);
        return Ok(Step::End);
    }
    let end = memchr::memmem::find(received, b"\r\n\r\n");
    if end.map_or(received.len(), |end| end + 4) > MOST {
        return Err(Breach::MalformedBody);
    }
    let Some(end) = end else { return Ok(Step::More(UNKNOWN_ROOM)) };
    let lines = received.split_to(end + 4);
    let mut trailers = HeaderMap::new();
    for text in lines[..end + 2].split_inclusive(|byte| *byte == b'\n') {
        let field = line::text(text).and_then(line::header);
        let (name, value) = field.map_err(|_| Breach::MalformedBody)?;
        // What would frame a message is no part of one that has ended.
        if line::ends_here(name) {
            continue;
        }
        let name = HeaderName::from_bytes(name).map_err(|_| Breach::MalformedBody)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Breach::MalformedBody)?;
        trailers.append(name, value);
    }
    Ok(Step::Trailers(trailers))
}
