//! A short form of `cargo xtask soak`: all kinds of clients, all kinds of changes, nothing left behind.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::soak;

#[test]
fn nothing_fails_and_nothing_is_left_under_mixed_load() -> Result<()> {
    let outcome = soak::play(Duration::from_secs(8), |_| {})?;
    let faults = outcome.faults();
    ensure!(faults.is_empty(), "{faults:#?}\n{outcome:?}");
    ensure!(outcome.changes > 10, "{outcome:?}");
    Ok(())
}
