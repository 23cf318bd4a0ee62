//! `cargo xtask chaos`: builds, and lets `lb-chaos` count what breaks.

use std::{convert::Infallible, ffi::OsString};

use anyhow::Result;

use crate::{
    lab_program::{DEV, LabProgram},
    preflight,
};

/// Built as the tests are: `cargo xtask test` finds it done.
const CHAOS: LabProgram =
    LabProgram { name: "lb-chaos", profile: DEV, helpers: &["lb-lab"], needs_agent: true };

/// What `lb-chaos` is told.
#[derive(clap::Args)]
#[command(after_help = include_str!("../../tests/src/chaos/help.txt"))]
pub(crate) struct Options {
    /// Passed on: names of events, or `--all`, or `--list`; `--connections N` (3000 unless told), `--baseline`,
    /// `--json`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<OsString>,
}

/// Returns only if it fails: else `lb-chaos` runs in this process's place.
pub(crate) fn run(options: &Options) -> Result<Infallible> {
    preflight::lab("chaos")?;
    CHAOS.build()?;
    CHAOS.replace_us(&options.arguments, &[])
}
