//! Finds a Rust toolchain that can build `core` for BPF: new enough, with the linker's LLVM and the library's
//! sources. Stable comes first: `RUSTC_BOOTSTRAP=1` lets it build the library, and unlike a nightly it is the same
//! for everybody.

use std::{
    env,
    ffi::OsString,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{BuildError, leave_outer_cargo, run};
use crate::versions::{LINKER_LLVM, OLDEST_RUSTC};

/// A toolchain by its folder, so that no rustup proxy can choose another one behind our back.
#[derive(Debug)]
pub(crate) struct Toolchain {
    sysroot: PathBuf,
    compiler: Compiler,
}

/// What `rustc -vV` says.
#[derive(PartialEq, Eq, Debug)]
struct Compiler {
    release: (u32, u32),
    llvm: u32,
    is_nightly: bool,
}

impl Toolchain {
    /// The first suitable one that has the sources or can get them: stable ones first, and of these the one
    /// that has them.
    pub(super) fn with_rust_src() -> Result<Self, BuildError> {
        let mut suitable: Vec<_> = all()?.into_iter().filter(Self::is_suitable).collect();
        suitable.sort_by_key(|toolchain| (toolchain.compiler.is_nightly, !toolchain.has_rust_src()));
        let mut failure = none_suitable();
        for toolchain in suitable {
            match toolchain.ensure_rust_src() {
                Ok(()) => return Ok(toolchain),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The toolchain that `rustc` means here.
    pub(crate) fn active() -> Result<Self, BuildError> {
        let missing = || BuildError::new("rustc does not start").remedy("rustup toolchain install stable");
        output(Command::new("rustc").args(["--print", "sysroot"])).and_then(Self::at).ok_or_else(missing)
    }

    /// Its cargo, free of what an outer cargo has set.
    pub(super) fn cargo(&self) -> Command {
        let mut cargo = Command::new(self.program("cargo"));
        leave_outer_cargo(&mut cargo).env("RUSTC", self.program("rustc")).env("PATH", self.path_in_front());
        cargo
    }

    fn at(sysroot: String) -> Option<Self> {
        let sysroot = PathBuf::from(sysroot);
        let compiler = Compiler::read(&output(Command::new(sysroot.join("bin/rustc")).arg("-vV"))?)?;
        Some(Self { sysroot, compiler })
    }

    fn is_suitable(&self) -> bool {
        self.compiler.release >= OLDEST_RUSTC && self.compiler.llvm == LINKER_LLVM
    }

    fn has_rust_src(&self) -> bool {
        self.sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
    }

    fn ensure_rust_src(&self) -> Result<(), BuildError> {
        if self.has_rust_src() {
            return Ok(());
        }
        if output(Command::new("rustup").arg("--version")).is_none() {
            return Err(BuildError::new(
                "the standard library's sources are missing, and rustup is not there",
            )
            .remedy("apt-get install rust-src, or https://rustup.rs"));
        }
        let name = self.sysroot.file_name().unwrap_or_default();
        eprintln!("edgelb: getting the standard library's sources (rust-src) for {}", name.display());
        let mut rustup = Command::new("rustup");
        rustup.args(["component", "add", "rust-src", "--toolchain"]).arg(name);
        run(&mut rustup, "the standard library's sources are missing").map_err(|error| {
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

impl Compiler {
    fn read(version: &str) -> Option<Self> {
        let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name));
        let release = field("release: ")?;
        let (major, minor) = numbers(release)?;
        let (llvm, _) = numbers(field("LLVM version: ")?)?;
        Some(Self { release: (major, minor), llvm, is_nightly: release.contains('-') })
    }
}

/// The toolchain in use, then the others that rustup has.
fn all() -> Result<Vec<Toolchain>, BuildError> {
    let mut toolchains = vec![Toolchain::active()?];
    let list = output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    let sysroot = |name| output(Command::new("rustup").args(["run", name, "rustc", "--print", "sysroot"]));
    toolchains.extend(names.filter_map(sysroot).filter_map(Toolchain::at));
    Ok(toolchains)
}

fn none_suitable() -> BuildError {
    let (major, minor) = OLDEST_RUSTC;
    BuildError::new(format!("no Rust toolchain here is {major}.{minor} or newer and has LLVM {LINKER_LLVM}"))
        .remedy(format!("rustup toolchain install {major}.{minor} --component rust-src"))
}

/// `1.95.0` -> `(1, 95)`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
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
    use super::Compiler;

    #[test]
    fn compilers_are_read_from_what_rustc_prints() {
        let stable =
            "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nrelease: 1.95.0\nLLVM version: 22.1.2";
        assert_eq!(Compiler::read(stable), Some(Compiler { release: (1, 95), llvm: 22, is_nightly: false }));
        let nightly = "release: 1.97.0-nightly\nLLVM version: 22.1.4";
        assert_eq!(Compiler::read(nightly), Some(Compiler { release: (1, 97), llvm: 22, is_nightly: true }));
        assert_eq!(Compiler::read("clang version 14.0.6"), None);
    }
}
