//! Waiting for a condition: every wait of a test has one and a deadline; none is a plain sleep.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is asked.
const STEP: Duration = Duration::from_millis(5);

/// What takes long to ask leaves two thirds of a processor to those it waits for, as long as this is soon enough.
const LONG_STEP: Duration = Duration::from_millis(50);

/// Asks until there is an answer.
///
/// # Errors
/// What the last try answered, when the deadline is over.
pub fn eventually<T>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        let asked = Instant::now();
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if start.elapsed() >= deadline => {
                return Err(error.context(format!("{what}: not within {deadline:?}")));
            }
            Err(_) => thread::sleep((asked.elapsed() * 2).clamp(STEP, LONG_STEP)),
        }
    }
}

/// Asks until the condition holds.
///
/// # Errors
/// When the deadline is over.
pub fn until(what: &str, deadline: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    eventually(what, deadline, || if holds() { Ok(()) } else { bail!("still not so") })
}
