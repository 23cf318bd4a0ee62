//! `cargo xtask cluster`.

use std::process::ExitCode;

use anyhow::Result;

use super::{Extent, build};

/// What is to be done with the test cluster.
#[derive(clap::Subcommand)]
pub(crate) enum Task {
    /// Build its programs, and say where they are.
    Build,
}

pub(crate) fn run(task: &Task) -> Result<ExitCode> {
    match task {
        Task::Build => {
            for (name, value) in build(Extent::Nodes)? {
                println!("{name}={}", value.display());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
