//! Programs that PyPI has: each package in a virtual environment of the cache.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{ebpf::tools, workspace::succeed};

/// A package and the version of it that is used.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Of the download, where that takes its time.
    pub(crate) megabytes: Option<u16>,
}

impl Package {
    /// The environment's folder, whether it is there or not.
    pub(crate) fn folder(&self) -> Result<PathBuf> {
        Ok(tools::folder(self.name, self.version)?)
    }

    /// A program that it brings, installed where it is missing.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        let program = self.folder()?.join("bin").join(name);
        if !program.is_file() {
            self.install()?;
        }
        ensure!(program.is_file(), "PyPI's {} has no {name}", self.name);
        Ok(program)
    }

    /// A library that it brings: there is a Python in the folder that has it.
    pub(crate) fn library(&self, module: &str) -> Result<()> {
        let python = self.folder()?.join("bin/python");
        let import = || Command::new(&python).args(["-c", &format!("import {module}")]).output();
        let is_there = || import().is_ok_and(|output| output.status.success());
        if !is_there() {
            self.install()?;
            ensure!(is_there(), "PyPI's {} has no {module}", self.name);
        }
        Ok(())
    }

    /// Installs it anew.
    pub(crate) fn install(&self) -> Result<()> {
        let (folder, Self { name, version, .. }) = (self.folder()?, self);
        let size = self.megabytes.map_or_else(String::new, |size| format!(", {size} MB"));
        eprintln!("edgelb: installing {name} {version} from PyPI into {} (once{size})", folder.display());
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let venv = succeed(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        venv.context("this would help: apt-get install -y python3-venv")?;
        let mut pip = Command::new(folder.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", &format!("{name}=={version}")]);
        succeed(&mut pip).with_context(|| format!("PyPI's {name} does not install"))
    }
}
