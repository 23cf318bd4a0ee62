//! A client's HTTP/2 frames as their heads pass by (RFC 9113 section 4.1): those that cost work and ask for none are
//! counted, for the HTTP library answers them as fast as they come. Pure.

use std::num::NonZeroU64;
use std::time::Instant;

use super::heads::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Head, Heads, RST_STREAM, Refused, Status,
};
use crate::l7::limits::{Limit, Limits};

/// Parts of one frame in a bucket: a new stream forgives half a reset.
const PARTS: u64 = 2;

/// Bytes to the client that explain one WINDOW_UPDATE, or the PING with which it measures its bandwidth.
const EXPLAINING: u64 = 512;

/// One direction's place in its frames, and what it has counted.
#[derive(Debug)]
pub(super) struct Meter {
    limits: Limits,
    heads: Heads,
    answers: Status,
    /// Of the header block under way.
    block: Block,
    control: Bucket,
    resets: Bucket,
    /// Bytes to the client that have explained nothing yet.
    written: u64,
    /// DATA frames without data.
    empty: u64,
    /// Whether the client has sent anything.
    has_begun: bool,
    /// Of the last frame that has begun; `None` for the preface.
    kind: Option<u8>,
    /// Frames that have begun, a header block's counted as one.
    begun: u64,
}

#[derive(Clone, Copy, Default, Debug)]
struct Block {
    is_open: bool,
    frames: u64,
    bytes: u64,
}

impl Meter {
    /// Before the preface.
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            heads: Heads::of_client(),
            answers: Status::default(),
            block: Block::default(),
            control: Bucket::new(limits.of(Limit::Http2ControlFrames), now),
            resets: Bucket::new(limits.of(Limit::Http2Resets), now),
            written: 0,
            empty: 0,
            has_begun: false,
            kind: None,
            begun: 0,
            limits,
        }
    }

    /// These bytes pass.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) -> Result<(), Limit> {
        self.has_begun |= !bytes.is_empty();
        while let Some(head) = self.heads.next(&mut bytes) {
            self.kind = Some(head.kind);
            self.begun += u64::from(head.kind != CONTINUATION);
            self.frame(head)?;
        }
        Ok(())
    }

    /// The number of the header block, or of the frame, whose end has not come, from 1. Of DATA only the head counts: a body may
    /// take longer.
    pub(super) const fn unfinished(&self) -> Option<NonZeroU64> {
        let is_data = matches!(self.kind, Some(DATA));
        let is_payload_late = self.heads.is_in_payload() && !is_data;
        let is_any = self.block.is_open || self.heads.is_in_head() || is_payload_late;
        if is_any && self.has_begun { NonZeroU64::MIN.checked_add(self.begun) } else { None }
    }

    /// These bytes were sent to the client.
    pub(super) fn wrote(&mut self, bytes: &[u8]) {
        self.answers.advance(bytes);
        self.written += bytes.len() as u64;
        self.control.forgive(self.written / EXPLAINING * PARTS);
        self.written %= EXPLAINING;
    }

    /// What the HTTP library refused by itself since this was asked last.
    pub(super) fn refused(&mut self) -> Refused {
        self.answers.refused()
    }

    fn frame(&mut self, Head { length, kind, flags }: Head) -> Result<(), Limit> {
        match kind {
            DATA if length > 0 || flags & END_STREAM != 0 => self.control.forgive(2 * PARTS),
            HEADERS => {
                self.block = Block::default();
                self.control.forgive(2 * PARTS);
                self.resets.forgive(1);
                self.header_frame(length, flags)?;
            }
            CONTINUATION => self.header_frame(length, flags)?,
            RST_STREAM if !self.resets.takes() => return Err(Limit::Http2Resets),
            RST_STREAM => {}
            DATA if length == 0 => self.empty_data()?,
            _ if !self.control.takes() => return Err(Limit::Http2ControlFrames),
            _ => {}
        }
        Ok(())
    }

    fn empty_data(&mut self) -> Result<(), Limit> {
        self.empty += 1;
        if self.limits.is_over(Limit::Http2EmptyData, self.empty) {
            Err(Limit::Http2EmptyData)
        } else {
            Ok(())
        }
    }

    fn header_frame(&mut self, length: u32, flags: u8) -> Result<(), Limit> {
        self.block.is_open = true;
        self.block.frames += 1;
        self.block.bytes += u64::from(length);
        if self.limits.is_over(Limit::Http2HeaderFrames, self.block.frames) {
            return Err(Limit::Http2HeaderFrames);
        }
        if self.limits.is_over(Limit::Http2HeaderBytes, self.block.bytes) {
            return Err(Limit::Http2HeaderBytes);
        }
        if flags & END_HEADERS != 0 {
            self.block = Block::default();
        }
        Ok(())
    }
}

/// Counts up to a limit. What is in it runs out with time: a tenth of the limit each second.
#[derive(Debug)]
struct Bucket {
    limit: u64,
    level: u64,
    /// When it last ran out.
    at: Instant,
}

impl Bucket {
    const fn new(limit: u64, at: Instant) -> Self {
        Self { limit: limit * PARTS, level: 0, at }
    }

    const fn forgive(&mut self, parts: u64) {
        self.level = self.level.saturating_sub(parts);
    }

    /// Takes one frame, if there is room.
    fn takes(&mut self) -> bool {
        self.level += PARTS;
        // The clock is asked only where it matters.
        if self.level <= self.limit {
            return true;
        }
        self.run_out(Instant::now());
        self.level <= self.limit
    }

    fn run_out(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs();
        if seconds > 0 {
            self.at = now;
            self.level = self.level.saturating_sub(seconds.saturating_mul(self.limit / 10 + 1));
        }
    }
}
