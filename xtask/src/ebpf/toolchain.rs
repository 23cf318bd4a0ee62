//! Finds a Rust toolchain that can build `core` for BPF: new enough, with the library's sources. Stable will
//! do: `RUSTC_BOOTSTRAP=1` lets it build the library, and unlike a nightly it is the same for everybody.

use std::{
    env,
    ffi::OsString,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{BuildError, leave_outer_cargo, run};
use crate::versions::OLDEST_RUSTC;

/// A toolchain by its folder, so that no rustup proxy can choose another one behind our back.
#[derive(Debug)]
pub(crate) struct Toolchain {
    sysroot: PathBuf,
}

impl Toolchain {
    /// The toolchain in use, any other that is complete, or the one in use after `rustup component add`.
    pub(super) fn with_rust_src() -> Result<Self, BuildError> {
        let active = Self::active()?;
        if active.is_complete() {
            return Ok(active);
        }
        if let Some(other) = others().into_iter().find(Self::is_complete) {
            return Ok(other);
        }
        if !active.is_new_enough() {
            let (major, minor) = OLDEST_RUSTC;
            return Err(BuildError::new(format!("edgelb needs rustc {major}.{minor} or newer"))
                .remedy("rustup update stable"));
        }
        active.add_rust_src()?;
        Ok(active)
    }

    /// The toolchain that `rustc` means here.
    pub(super) fn active() -> Result<Self, BuildError> {
        let missing = || BuildError::new("rustc does not start").remedy("rustup toolchain install stable");
        output(Command::new("rustc").args(["--print", "sysroot"])).map(Self::at).ok_or_else(missing)
    }

    /// Its cargo, free of what an outer cargo has set.
    pub(super) fn cargo(&self) -> Command {
        let mut cargo = Command::new(self.program("cargo"));
        leave_outer_cargo(&mut cargo)
            .env("RUSTC", self.program("rustc"))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("PATH", self.path_in_front());
        cargo
    }

    fn at(sysroot: String) -> Self {
        Self { sysroot: sysroot.into() }
    }

    fn is_complete(&self) -> bool {
        self.has_rust_src() && self.is_new_enough()
    }

    fn has_rust_src(&self) -> bool {
        self.sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
    }

    fn is_new_enough(&self) -> bool {
        output(Command::new(self.program("rustc")).arg("--version"))
            .and_then(|line| minor_version(&line))
            .is_some_and(|version| version >= OLDEST_RUSTC)
    }

    fn add_rust_src(&self) -> Result<(), BuildError> {
        let name = self.sysroot.file_name().unwrap_or_default();
        let mut rustup = Command::new("rustup");
        rustup.args(["component", "add", "rust-src", "--toolchain"]).arg(name);
        eprintln!(
            "edgelb: the standard library's sources are missing: getting rust-src for {}",
            name.display()
        );
        run(&mut rustup, "rust-src is missing").map_err(|error| {
            error.remedy(format!("rustup component add rust-src --toolchain {}", name.display()))
        })
    }

    fn program(&self, name: &str) -> PathBuf {
        self.sysroot.join("bin").join(name)
    }

    /// The linker loads LLVM from the `lib` beside the first Rust `bin` on the search path.
    fn path_in_front(&self) -> OsString {
        let mut path = OsString::from(self.sysroot.join("bin"));
        if let Some(rest) = env::var_os("PATH") {
            path.push(":");
            path.push(rest);
        }
        path
    }
}

/// The other toolchains that rustup has, stable ones first.
fn others() -> Vec<Toolchain> {
    let Some(list) = output(Command::new("rustup").args(["toolchain", "list"])) else {
        return Vec::new();
    };
    let mut names: Vec<_> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    names.sort_by_key(|name| !name.starts_with("stable"));
    let sysroot =
        |name: &&str| output(Command::new("rustup").args(["run", name, "rustc", "--print", "sysroot"]));
    names.iter().filter_map(sysroot).map(Toolchain::at).collect()
}

/// `rustc 1.95.0 (59807616e 2026-04-14)` -> `(1, 95)`.
fn minor_version(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.strip_prefix("rustc ")?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// What a program printed, or nothing if it is not there or failed.
fn output(command: &mut Command) -> Option<String> {
    let output = leave_outer_cargo(command).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::minor_version;

    #[test]
    fn versions_are_read_from_what_rustc_prints() {
        assert_eq!(minor_version("rustc 1.95.0 (59807616e 2026-04-14)"), Some((1, 95)));
        assert_eq!(minor_version("rustc 1.97.0-nightly (e50aa6fba 2026-05-19)"), Some((1, 97)));
        assert_eq!(minor_version("clang 14.0.6"), None);
    }
}
