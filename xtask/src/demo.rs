//! `cargo xtask demo`: prepares this machine, builds, and lets `lb-lab demo` show what edgelb does.

use std::{convert::Infallible, ffi::OsString};

use anyhow::Result;

use crate::{
    lab_program::{DEV, LabProgram},
    preflight,
};

/// Built as the tests are: in half the time of an optimised build, and `cargo xtask test` finds it done.
const LAB: LabProgram = LabProgram { name: "lb-lab", profile: DEV, helpers: &[], needs_agent: true };

/// What `lb-lab demo` is told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Passed on: `--keep` leaves the lab up and prints commands to play with it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Returns only if it fails: else the demo runs in this process's place.
pub(crate) fn run(options: Options) -> Result<Infallible> {
    preflight::lab("demo")?;
    LAB.build()?;
    let arguments: Vec<_> = [OsString::from("demo")].into_iter().chain(options.arguments).collect();
    LAB.replace_us(&arguments, &[])
}
