//! A client's HTTP/1 messages as their bytes pass by: where each begins and ends by the letter of RFC 9112, and what is
//! refused because two servers could read it differently. Pure. Bodies are skipped, lines are looked at once.

use std::mem;

use super::fault::{Fault, Malformed};
use crate::l7::limits::{Limit, Limits};
use crate::l7::line::{self, RequestLine};

/// One direction's place in its messages.
#[derive(Debug)]
pub(super) struct Scanner {
    limits: Limits,
    part: Part,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    message: Message,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// Before a request line. One empty line may precede it, as old clients send it after a body.
    Start {
        has_blank: bool,
    },
    Headers,
    /// So much of a body of known length is yet to come.
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
}

/// What is known of the message under way.
#[derive(Clone, Copy, Default, Debug)]
struct Message {
    bytes: u64,
    headers: u64,
    extensions: u64,
    length: Option<u64>,
    is_chunked: bool,
    is_old: bool,
}

/// What stops the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stop {
    /// Why.
    pub(super) fault: Fault,
    /// Bytes, of those that were shown last, which come before what is wrong.
    pub(super) good: usize,
    /// Whether the request has begun to be answered: it is its body that is wrong.
    pub(super) in_body: bool,
}

impl Scanner {
    /// Before the first message.
    pub(super) fn new(limits: Limits) -> Self {
        let part = Part::Start { has_blank: false };
        Self { limits, part, begun: Vec::new(), message: Message::default() }
    }

    /// These bytes pass.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut rest = bytes;
        // Where the head under way begins, or the line of a body.
        let mut good = 0;
        while !rest.is_empty() {
            if let Part::Body(left) | Part::Chunk(left) = self.part {
                rest = self.skip(left, rest);
                continue;
            }
            if !matches!(self.part, Part::Headers) && self.begun.is_empty() {
                good = bytes.len() - rest.len();
            }
            let in_body = self.is_in_body();
            rest = self.take_line(rest).map_err(|fault| Stop { fault, good, in_body })?;
        }
        Ok(())
    }

    /// How much is left of a body of known length.
    pub(super) const fn left_of_body(&self) -> Option<u64> {
        match self.part {
            Part::Body(left) => Some(left),
            _ => None,
        }
    }

    /// So many bytes of it passed that nobody has seen.
    pub(super) fn pass_body(&mut self, bytes: usize) {
        if let Part::Body(left) = self.part {
            self.pass(left, bytes as u64);
        }
    }

    const fn is_in_body(&self) -> bool {
        !matches!(self.part, Part::Start { .. } | Part::Headers)
    }

    fn skip<'b>(&mut self, left: u64, bytes: &'b [u8]) -> &'b [u8] {
        let now = left.min(bytes.len() as u64);
        self.pass(left, now);
        // No more than there are.
        &bytes[now as usize..]
    }

    fn pass(&mut self, left: u64, bytes: u64) {
        let left = left.saturating_sub(bytes);
        self.part = match self.part {
            Part::Chunk(_) if left == 0 => Part::ChunkEnd,
            Part::Chunk(_) => Part::Chunk(left),
            _ if left == 0 => Part::Start { has_blank: false },
            _ => Part::Body(left),
        };
    }

    /// Takes a line, or the beginning of one, and gives back what follows.
    fn take_line<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Fault> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.begun.extend_from_slice(bytes);
            // One that is too long need not be complete.
            self.check_length(self.begun.len())?;
            return Ok(&[]);
        };
        let (line, rest) = bytes.split_at(end + 1);
        if self.begun.is_empty() {
            self.take(line)?;
        } else {
            let mut whole = mem::take(&mut self.begun);
            whole.extend_from_slice(line);
            self.take(&whole)?;
            whole.clear();
            self.begun = whole;
        }
        Ok(rest)
    }

    fn check_length(&self, line: usize) -> Result<(), Fault> {
        let line = line as u64;
        let limits = &self.limits;
        match self.part {
            // What was counted is of the message before.
            Part::Start { .. } if limits.is_over(Limit::HeadBytes, line) => Err(Limit::HeadBytes.into()),
            Part::Headers if limits.is_over(Limit::HeadBytes, self.message.bytes + line) => {
                Err(Limit::HeadBytes.into())
            }
            Part::ChunkSize if limits.is_over(Limit::ChunkExtensionBytes, line) => {
                Err(Limit::ChunkExtensionBytes.into())
            }
            Part::ChunkEnd if line > 2 => Err(Malformed::ChunkEnd.into()),
            Part::Trailers if limits.is_over(Limit::TrailerBytes, self.message.bytes + line) => {
                Err(Limit::TrailerBytes.into())
            }
            _ => Ok(()),
        }
    }

    /// Takes a whole line.
    fn take(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.check_length(line.len())?;
        let text = line::text(line)?;
        self.message.bytes += line.len() as u64;
        self.part = match self.part {
            Part::Start { has_blank } => self.start(text, has_blank)?,
            Part::Headers if text.is_empty() => self.end_of_head()?,
            Part::Headers => self.header(text)?,
            Part::ChunkSize => self.chunk(text)?,
            Part::ChunkEnd if text.is_empty() => Part::ChunkSize,
            Part::ChunkEnd => return Err(Malformed::ChunkEnd.into()),
            Part::Trailers if text.is_empty() => Part::Start { has_blank: false },
            Part::Trailers => self.trailer(text)?,
            part @ (Part::Body(_) | Part::Chunk(_)) => part,
        };
        Ok(())
    }

    fn start(&mut self, text: &[u8], has_blank: bool) -> Result<Part, Fault> {
        if text.is_empty() {
            return if has_blank {
                Err(Malformed::RequestLine.into())
            } else {
                Ok(Part::Start { has_blank: true })
            };
        }
        let request = RequestLine::parse(text)?;
        if self.limits.is_over(Limit::TargetBytes, request.target as u64) {
            return Err(Limit::TargetBytes.into());
        }
        // Of the lines before, none counts.
        let bytes = text.len() as u64 + 2;
        self.message = Message { bytes, is_old: request.is_old, ..Message::default() };
        Ok(Part::Headers)
    }

    fn header(&mut self, text: &[u8]) -> Result<Part, Fault> {
        let (name, value) = line::header(text)?;
        self.count_header()?;
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.message.length.is_some() {
                    return Err(Malformed::RepeatedLength.into());
                }
                self.message.length = Some(line::length(value)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.message.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed::UnknownCoding.into());
                }
                self.message.is_chunked = true;
            }
            _ => {}
        }
        Ok(Part::Headers)
    }

    fn end_of_head(&self) -> Result<Part, Fault> {
        match self.message {
            Message { is_chunked: true, length: Some(_), .. } => Err(Malformed::LengthAndCoding.into()),
            Message { is_chunked: true, is_old: true, .. } => Err(Malformed::CodingInOldVersion.into()),
            Message { is_chunked: true, .. } => Ok(Part::ChunkSize),
            Message { length: Some(length @ 1..), .. } => Ok(Part::Body(length)),
            _ => Ok(Part::Start { has_blank: false }),
        }
    }

    fn chunk(&mut self, text: &[u8]) -> Result<Part, Fault> {
        let (size, extensions) = line::chunk(text)?;
        self.message.extensions += extensions as u64;
        if self.limits.is_over(Limit::ChunkExtensionBytes, self.message.extensions) {
            return Err(Limit::ChunkExtensionBytes.into());
        }
        if size > 0 {
            return Ok(Part::Chunk(size));
        }
        // From here on it counts the trailers.
        (self.message.bytes, self.message.headers) = (0, 0);
        Ok(Part::Trailers)
    }

    fn trailer(&mut self, text: &[u8]) -> Result<Part, Fault> {
        let (name, _) = line::header(text)?;
        self.count_header()?;
        if line::is_forbidden_trailer(name) { Err(Malformed::Trailer.into()) } else { Ok(Part::Trailers) }
    }

    fn count_header(&mut self) -> Result<(), Fault> {
        self.message.headers += 1;
        let is_over = self.limits.is_over(Limit::Headers, self.message.headers);
        if is_over { Err(Limit::Headers.into()) } else { Ok(()) }
    }
}
