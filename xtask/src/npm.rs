//! Libraries that npm has: each package in a folder of the cache.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{ebpf::tools, workspace::succeed};

/// A package and the version of it that is used.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
}

impl Package {
    /// Installs it where it is missing.
    pub(crate) fn ensure(&self) -> Result<()> {
        if !self.is_installed()? {
            self.install()?;
            ensure!(self.is_installed()?, "npm's {} is not where npm puts packages", self.name);
        }
        Ok(())
    }

    fn folder(&self) -> Result<PathBuf> {
        Ok(tools::folder(self.name, self.version)?)
    }

    /// What npm writes last.
    fn is_installed(&self) -> Result<bool> {
        Ok(self.folder()?.join("node_modules/.package-lock.json").is_file())
    }

    fn install(&self) -> Result<()> {
        let (folder, Self { name, version }) = (self.folder()?, self);
        eprintln!("edgelb: installing {name} {version} from npm into {} (once)", folder.display());
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]);
        npm.arg(&folder).arg(format!("{name}@{version}")).stdin(Stdio::null()).stdout(Stdio::null());
        succeed(&mut npm).with_context(|| format!("npm's {name} does not install"))
    }
}
