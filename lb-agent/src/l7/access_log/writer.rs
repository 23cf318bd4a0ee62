//! The thread that writes. A file that was renamed or removed is opened anew within a second, so any tool may rotate it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write, stdout};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::OFlags;

use super::record::Record;
use super::time::rfc3339;
use super::{Format, Settings};
use crate::l7::moment::Clock;
use crate::metrics::{AccessLogMetrics, LineEnd};

/// Records are collected for so long: who hands one on then need not wake this thread.
const PAUSE: Duration = Duration::from_millis(20);

/// Lines are written when they are so many bytes, or when no more wait.
const CHUNK: usize = 64 * 1024;

/// Where lines go.
pub(super) struct Writer {
    path: Option<PathBuf>,
    file: Option<File>,
    format: Format,
    metrics: AccessLogMetrics,
    clock: Clock,
    lines: String,
    count: u64,
    /// Whether the last ones could not be written.
    is_failing: bool,
}

impl Writer {
    pub(super) fn open(settings: Settings, metrics: AccessLogMetrics) -> io::Result<Self> {
        let Settings { path, format, .. } = settings;
        let file = path.as_deref().map(open).transpose()?;
        Ok(Self {
            path,
            file,
            format,
            metrics,
            clock: Clock::now(),
            lines: String::new(),
            count: 0,
            is_failing: false,
        })
    }

    /// Until nobody can hand on records any more.
    pub(super) fn run(mut self, records: &Receiver<Box<Record>>) {
        while let Ok(record) = records.recv() {
            self.look();
            self.add(&record);
            loop {
                records.try_iter().for_each(|record| self.add(&record));
                self.write();
                sleep(PAUSE);
                match records.try_recv() {
                    Ok(record) => {
                        self.look();
                        self.add(&record);
                    }
                    Err(_) => break,
                }
            }
        }
    }

    fn add(&mut self, record: &Record) {
        let time = rfc3339(self.clock.time_of(record.began));
        self.format.write(record, &time, &mut self.lines);
        self.count += 1;
        if self.lines.len() >= CHUNK {
            self.write();
        }
    }

    fn write(&mut self) {
        if self.count == 0 {
            return;
        }
        let written = match &mut self.file {
            Some(file) => file.write_all(self.lines.as_bytes()),
            None => stdout().lock().write_all(self.lines.as_bytes()),
        };
        let end = if written.is_ok() { LineEnd::Written } else { LineEnd::Failed };
        self.metrics.lines(end, self.count);
        self.tell(written.err());
        self.lines.clear();
        self.count = 0;
    }

    /// Once when it begins to fail, once when it is over.
    fn tell(&mut self, error: Option<io::Error>) {
        let path = self.path.as_deref().unwrap_or_else(|| Path::new("-"));
        match &error {
            Some(error) if !self.is_failing => {
                tracing::warn!(%error, path = %path.display(), "the access log cannot be written");
            }
            None if self.is_failing => {
                tracing::info!(path = %path.display(), "the access log is written again");
            }
            _ => {}
        }
        self.is_failing = error.is_some();
    }

    /// Now and then: takes the time, and opens the file anew if it is another one by now.
    fn look(&mut self) {
        if !self.clock.look() {
            return;
        }
        let (Some(path), Some(file)) = (&self.path, &self.file) else { return };
        let place =
            |metadata: io::Result<std::fs::Metadata>| metadata.ok().map(|found| (found.dev(), found.ino()));
        if place(std::fs::metadata(path)) == place(file.metadata()) {
            return;
        }
        match open(path) {
            Ok(file) => self.file = Some(file),
            Err(error) => self.tell(Some(error)),
        }
    }
}

/// A pipe that nobody reads is an error: neither the start nor the writer waits for a reader.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().create(true).append(true).custom_flags(flags).open(path)
}
