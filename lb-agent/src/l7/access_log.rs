//! The access log: a line for each request, or for one of so many, when its response is gone. Requests hand a record on and
//! never wait: a thread of its own (`writer`) makes lines of records, and what it has no room for is counted instead.

mod field;
mod format;
mod record;
mod time;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};

pub(super) use self::field::{Field, Value};
pub use self::format::{Format, FormatError};
pub(super) use self::record::{Notes, Record, Session};
use self::writer::Writer;
use super::last_words::LastWords;
use crate::metrics::{AccessLogMetrics, LineEnd};

/// Records that wait for the thread: with more, it does not keep up.
const ROOM: usize = 16 * 1024;

/// What is logged, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The file; `None` for the standard output.
    pub path: Option<PathBuf>,
    /// How lines look.
    pub format: Format,
    /// One of so many requests; those that ended badly for no fault of the client always are.
    pub sample: u32,
}

/// An access log at work. A clone writes to the same one; with the last one, the thread ends.
#[derive(Clone, Debug)]
pub struct AccessLog {
    records: SyncSender<Box<Record>>,
    metrics: AccessLogMetrics,
    sample: u32,
    end: LastWords,
}

impl AccessLog {
    /// Opens the file, and starts the thread.
    ///
    /// # Errors
    /// Those of the system.
    pub fn start(settings: Settings, metrics: AccessLogMetrics) -> io::Result<Self> {
        let (records, waiting) = sync_channel(ROOM);
        let sample = settings.sample.max(1);
        let writer = Writer::open(settings, metrics.clone())?;
        let end = LastWords::of("access-log", move || writer.run(&waiting))?;
        Ok(Self { records, metrics, sample, end })
    }

    /// What ends once all is written.
    pub(super) fn end(&self) -> LastWords {
        self.end.clone()
    }

    /// A record is complete.
    pub(super) fn write(&self, record: Box<Record>) {
        if !record.is_bad() && self.sample > 1 && fastrand::u32(..self.sample) > 0 {
            return;
        }
        if self.records.try_send(record).is_err() {
            self.metrics.line(LineEnd::Dropped);
        }
    }
}

#[cfg(test)]
mod tests;
