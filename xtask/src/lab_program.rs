//! Builds programs of the workspace with progress on the terminal, and becomes one of them.

use std::{
    convert::Infallible, ffi::OsString, os::unix::process::CommandExt as _, path::PathBuf, process::Command,
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{ebpf, workspace};

/// How a program is built: cargo's name for it, and the folder in which cargo puts it.
pub(crate) struct Profile {
    pub(crate) name: &'static str,
    pub(crate) folder: &'static str,
}

/// As the tests are built.
pub(crate) const DEV: Profile = Profile { name: "dev", folder: "debug" };

/// Optimised a little: many agents run on this one machine.
pub(crate) const LAB: Profile = Profile { name: "lab", folder: "lab" };

/// As it is shipped.
pub(crate) const DIST: Profile = Profile { name: "dist", folder: "dist" };

impl Profile {
    /// Where a program is that was built so.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        Ok(workspace::target_dir()?.join(self.folder).join(name))
    }
}

/// A binary of the crate `lb-tests`, and how it is built.
pub(crate) struct LabProgram {
    pub(crate) name: &'static str,
    pub(crate) profile: Profile,
    /// Other binaries of that crate that it starts.
    pub(crate) helpers: &'static [&'static str],
    /// Whether it starts the agent's binary.
    pub(crate) needs_agent: bool,
}

impl LabProgram {
    /// Builds the kernel program first: its tools are installed with words on the terminal, which a build
    /// script could not print.
    pub(crate) fn build(&self) -> Result<()> {
        let start = Instant::now();
        eprintln!("edgelb: building (the first time takes some minutes)");
        ebpf::build(&workspace::root()?)?;
        let mut cargo = workspace::cargo()?;
        cargo.args(["build", "--profile", self.profile.name, "--package", "lb-tests"]);
        for name in [self.name].iter().chain(self.helpers) {
            cargo.args(["--bin", name]);
        }
        if self.needs_agent {
            cargo.args(["--package", "lb-agent", "--bin", "lb-agent"]);
        }
        workspace::succeed(&mut cargo)?;
        eprintln!("edgelb: built in {} s", start.elapsed().as_secs());
        Ok(())
    }

    /// Where it is once it is built.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        self.profile.program(self.name)
    }

    /// Runs it in our place, so that Ctrl-C reaches it alone and the shell waits until it has cleaned up.
    pub(crate) fn replace_us(
        &self,
        arguments: &[OsString],
        environment: &[(&str, OsString)],
    ) -> Result<Infallible> {
        let program = self.path()?;
        let refused = Command::new(&program)
            .current_dir(workspace::root()?)
            .args(arguments)
            .envs(environment.iter().cloned())
            .exec();
        Err(refused).with_context(|| format!("cannot start {}", program.display()))
    }
}
