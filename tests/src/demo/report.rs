//! What the demo prints: headings, steps with their time, rows, bars. Colours and progress only for people.

use std::cell::Cell;
use std::io::{IsTerminal, Write, stdout};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{brief, grouped};

/// Columns of a full bar.
const BAR: usize = 40;

/// How often a progress line is written anew.
const REFRESH: Duration = Duration::from_millis(100);

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const CYAN: &str = "36";

/// Writes the report to standard output.
#[derive(Debug)]
pub(super) struct Report {
    is_terminal: bool,
    has_colours: bool,
    part: Cell<u32>,
}

impl Report {
    pub(super) fn new() -> Self {
        let is_terminal = stdout().is_terminal();
        let wants_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { is_terminal, has_colours: is_terminal && wants_colours, part: Cell::new(0) }
    }

    pub(super) fn title(&self, text: &str) {
        println!("\n{}\n", self.paint(BOLD, text));
    }

    /// The heading of the next part.
    pub(super) fn part(&self, text: &str) {
        self.part.set(self.part.get() + 1);
        println!("\n{}", self.paint(BOLD, &format!("{}. {text}", self.part.get())));
    }

    /// Does something that takes a moment, and says how long it took.
    pub(super) fn step<T>(&self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        if self.is_terminal {
            print!("   {what} ...");
            stdout().flush()?;
        }
        let result = work();
        self.clear_line()?;
        if result.is_ok() {
            println!("   {what} {}", self.paint(DIM, &format!("({})", brief(start.elapsed()))));
        }
        result
    }

    /// A command as a person would type it.
    pub(super) fn command(&self, text: &str) {
        println!("   {}", self.paint(CYAN, &format!("$ {text}")));
    }

    /// What came of the last command.
    pub(super) fn outcome(&self, text: &str) {
        println!("     {text}");
    }

    /// A remark.
    pub(super) fn note(&self, text: &str) {
        println!("   {}", self.paint(DIM, text));
    }

    /// A result that is as it should be.
    pub(super) fn success(&self, text: &str) {
        println!("   {} {text}", self.paint(GREEN, "ok"));
    }

    /// One line of a distribution: a bar whose full length is `whole`, the count, and the expected one.
    pub(super) fn bar(&self, name: &str, count: usize, expected: usize, whole: usize) {
        let full = (count * BAR).div_ceil(whole.max(1)).min(BAR);
        let bar = self.paint(GREEN, &"█".repeat(full));
        let pad = " ".repeat(BAR - full);
        let off = match expected {
            0 => String::new(),
            _ => format!("{:+.1} %", (count as f64 / expected as f64 - 1.0) * 100.0),
        };
        let (count, expected) = (grouped(count), grouped(expected));
        println!("   {name:<8} {bar}{pad} {count:>7}   expected {expected:>7}   {off}");
    }

    /// A counter that shows itself on a terminal while it goes on.
    pub(super) fn progress(&self, what: &'static str, of: usize) -> Progress {
        Progress { is_shown: self.is_terminal, what, of, state: Mutex::new((0, Instant::now())) }
    }

    pub(super) fn clear_line(&self) -> Result<()> {
        if self.is_terminal {
            print!("\r\x1b[2K");
            stdout().flush()?;
        }
        Ok(())
    }

    pub(super) fn end(&self, time: Duration) {
        println!("\n{}", self.paint(BOLD, &format!("All shown in {}.", brief(time))));
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.has_colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Counts; from any thread.
#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
    what: &'static str,
    of: usize,
    /// The count, and when it was shown.
    state: Mutex<(usize, Instant)>,
}

impl Progress {
    pub(super) fn advance(&self) {
        // A panic of another worker does not spoil a counter.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.0 += 1;
        if self.is_shown && (state.1.elapsed() >= REFRESH || state.0 == self.of) {
            state.1 = Instant::now();
            print!("\r   {} {:>7} of {}", self.what, grouped(state.0), grouped(self.of));
            let _ = stdout().flush();
        }
    }
}
