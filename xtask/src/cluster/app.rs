//! The image of `tests/app`, which is the cluster's pause container and its example application.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use super::go::Go;
use crate::{
    oci::{self, Image},
    workspace::{root, succeed, target_dir},
};

/// What pods name. Nobody serves it: nodes are given it before they start.
const NAME: &str = "edgelb.test/app:1";

/// Builds it (Go's own cache makes this quick where nothing changed): the image's archive.
pub(super) fn image() -> Result<PathBuf> {
    let folder = target_dir()?.join("cluster");
    fs::create_dir_all(&folder)?;
    let program = folder.join("app");
    let mut go = Go::find()?.command(&root()?.join("tests/app"));
    succeed(go.args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]).arg(&program).arg("."))
        .context("tests/app does not build")?;
    let image = Image {
        name: NAME,
        architecture: architecture(),
        folders: &["proc", "sys", "dev", "etc", "tmp"],
        programs: &[("app", fs::read(&program)?)],
        entrypoint: &["/app"],
        arguments: &["pause"],
    };
    let archive = folder.join("app.tar");
    oci::write(&image, &archive)?;
    Ok(archive)
}

/// As Go calls the machine that we are on.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
