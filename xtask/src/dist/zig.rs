//! Zig, as C compiler and linker for other machines: PyPI's `ziglang` in a virtual environment of the cache.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{pypi::Package, versions};

const ZIGLANG: Package = Package { name: "ziglang", version: versions::ZIGLANG, megabytes: Some(100) };

/// Tells where the package has the compiler.
const WHERE: &str = "import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), 'zig'))";

/// The compiler's path.
pub(super) fn installed() -> Result<PathBuf> {
    let folder = ZIGLANG.folder()?;
    if let Some(zig) = find(&folder) {
        return Ok(zig);
    }
    ZIGLANG.install()?;
    find(&folder).with_context(|| format!("{} has no zig that starts", folder.display()))
}

fn find(folder: &Path) -> Option<PathBuf> {
    let output = Command::new(folder.join("bin/python")).args(["-c", WHERE]).output().ok()?;
    let zig = PathBuf::from(str::from_utf8(&output.stdout).ok()?.trim());
    let version = Command::new(&zig).arg("version").output().ok()?;
    version.status.success().then_some(zig)
}
