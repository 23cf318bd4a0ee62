//! Zig, as C compiler and linker for other machines: PyPI's `ziglang` in a virtual environment of the cache.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{ebpf::tools::cache, versions::ZIGLANG, workspace::succeed};

/// Tells where the package has the compiler.
const WHERE: &str = "import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), 'zig'))";

/// The compiler's path.
pub(super) fn installed() -> Result<PathBuf> {
    let folder = cache()?.join("tools").join(format!("ziglang-{ZIGLANG}"));
    if let Some(zig) = find(&folder) {
        return Ok(zig);
    }
    install(&folder).context("PyPI's ziglang does not install")?;
    find(&folder).with_context(|| format!("{} has no zig that starts", folder.display()))
}

fn find(folder: &Path) -> Option<PathBuf> {
    let output = Command::new(folder.join("bin/python")).args(["-c", WHERE]).output().ok()?;
    let zig = PathBuf::from(str::from_utf8(&output.stdout).ok()?.trim());
    let version = Command::new(&zig).arg("version").output().ok()?;
    version.status.success().then_some(zig)
}

fn install(folder: &Path) -> Result<()> {
    eprintln!("edgelb: installing zig {ZIGLANG} from PyPI into {} (once, 100 MB)", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let venv = succeed(Command::new("python3").args(["-m", "venv"]).arg(folder));
    venv.context("this would help: apt-get install -y python3-venv")?;
    let mut pip = Command::new(folder.join("bin/pip"));
    succeed(pip.args(["install", "--quiet", "--disable-pip-version-check", &format!("ziglang=={ZIGLANG}")]))?;
    ensure!(folder.join("bin/python").is_file(), "{} has no python", folder.display());
    Ok(())
}
