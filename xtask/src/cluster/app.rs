//! Programs of our own that are written in Go; and the image of `tests/app`, which is the cluster's pause container and its
//! example application.

use std::{fs, path::PathBuf};

use anyhow::Result;

use super::go::Go;
use crate::{
    oci::{self, Image},
    workspace::{root, target_dir},
};

/// What pods name. Nobody serves it: nodes are given it before they start.
const NAME: &str = "edgelb.test/app:1";

/// Builds it: the image's archive.
pub(super) fn image() -> Result<PathBuf> {
    let program = program("tests/app", "app")?;
    let image = Image {
        name: NAME,
        architecture: architecture(),
        folders: &["proc", "sys", "dev", "etc", "tmp"],
        programs: &[("app", fs::read(&program)?)],
        entrypoint: &["/app"],
        arguments: &["pause"],
    };
    let archive = program.with_extension("tar");
    oci::write(&image, &archive)?;
    Ok(archive)
}

/// Builds a program of ours in this folder.
pub(super) fn program(source: &str, name: &str) -> Result<PathBuf> {
    let folder = target_dir()?.join("cluster");
    fs::create_dir_all(&folder)?;
    let program = folder.join(name);
    Go::find()?.compile(&root()?.join(source), &program)?;
    Ok(program)
}

/// As Go calls the machine that we are on.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
