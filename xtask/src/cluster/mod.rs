//! The programs of the test cluster: real Kubernetes, etcd and containerd, built from Go modules into the cache.

mod app;
mod assets;
mod build;
mod go;
mod module;
mod parts;

use std::{env, ffi::OsString, process::ExitCode};

use anyhow::{Context, Result};

use parts::Part;

/// Names the folders in which the harness finds the cluster's programs, as `PATH` does for the shell.
pub(crate) const PATH_VARIABLE: &str = "LB_CLUSTER_PATH";

/// Names the archive with the image of `tests/app`.
pub(crate) const IMAGE_VARIABLE: &str = "LB_APP_IMAGE";

/// What is to be done with the test cluster.
#[derive(clap::Subcommand)]
pub(crate) enum Task {
    /// Build its programs, and say in which folders they are.
    Build,
}

pub(crate) fn run(task: &Task) -> Result<ExitCode> {
    match task {
        Task::Build => {
            println!("{PATH_VARIABLE}={}", nodes()?.display());
            println!("{IMAGE_VARIABLE}={}", app::image()?.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds what of the control plane is missing: the value of `PATH_VARIABLE`.
pub(crate) fn control_plane() -> Result<OsString> {
    build_all(&parts::CONTROL_PLANE)
}

/// As `control_plane`, with what a node runs.
pub(crate) fn nodes() -> Result<OsString> {
    build_all(&parts::CONTROL_PLANE)?;
    build_all(&parts::NODE)?;
    path()
}

fn build_all(parts: &[Part]) -> Result<OsString> {
    let missing: Vec<_> = parts.iter().filter(|part| !part.is_built()).collect();
    let asked = missing.len();
    for (index, part) in missing.into_iter().enumerate() {
        build::ensure(part, &format!("{} of {asked}", index + 1))
            .with_context(|| format!("the test cluster's {} cannot be built", part.program))?;
    }
    path()
}

fn path() -> Result<OsString> {
    let folders = parts::folders()?;
    env::join_paths(folders).context("a path of the cache has a colon in it")
}
