//! `cargo xtask soak`: builds what is shipped, and lets `lb-soak` load it.

use std::{convert::Infallible, ffi::OsString};

use anyhow::Result;

use crate::dist;
use crate::lab_program::{LAB, LabProgram};

/// What `lb-soak` is told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// --minutes N (30 unless told), --json.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Returns only if it fails: else `lb-soak` runs in this process's place.
pub(crate) fn run(options: &Options) -> Result<Infallible> {
    // Its load is paced: that of the agent counts.
    let soak = LabProgram { name: "lb-soak", profile: LAB, helpers: &[], needs_agent: false };
    let environment = Vec::from_iter(dist::agent()?);
    soak.build()?;
    soak.replace_us(&options.arguments, &environment)
}
