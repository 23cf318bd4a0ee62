//! Static binaries of the agent, for any machine from any machine: musl, with zig as C compiler and linker.

use std::{
    env, fmt,
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::{Profile, pgo, zig};
use crate::{ebpf, workspace};

/// `cargo build` by zig.
pub(super) const BUILD: &str = "zigbuild";

/// A kind of machine, by Go's name for it, which images and Kubernetes use.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Architecture {
    /// x86-64
    Amd64,
    /// AArch64
    Arm64,
}

impl Architecture {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// This machine's.
    pub(super) fn ours() -> Result<Self> {
        let ours = Self::value_variants().iter().copied().find(|architecture| architecture.is_ours());
        ours.with_context(|| format!("nothing is shipped for {}", env::consts::ARCH))
    }

    fn is_ours(self) -> bool {
        let arch = match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        };
        env::consts::ARCH == arch
    }

    const fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// Builds it: the binary's path. The kernel program is built first: its tools are installed with words on the
/// terminal, which a build script could not print.
pub(super) fn build(architecture: Architecture, profile: Profile, pgo: bool) -> Result<PathBuf> {
    let start = Instant::now();
    ebpf::build(&workspace::root()?)?;
    ensure_target(architecture.target())?;
    let folder = workspace::target_dir()?.join(architecture.target());
    let program = folder.join(profile.as_cargo_has_it().folder).join("lb-agent");
    if pgo && profile == Profile::Dist && architecture.is_ours() {
        pgo::build(|command| cargo(command, architecture, profile), architecture.target(), &program)?;
    } else {
        workspace::succeed(&mut cargo(BUILD, architecture, profile)?)?;
    }
    eprintln!("edgelb: lb-agent for {architecture} took {} s", start.elapsed().as_secs());
    Ok(program)
}

/// `cargo build` or, with flags for the last step alone, `cargo rustc`.
fn cargo(command: &str, architecture: Architecture, profile: Profile) -> Result<Command> {
    let toolchain = ebpf::Toolchain::active()?;
    let mut cargo = Command::new(ebpf::installed("cargo-zigbuild", &toolchain)?);
    cargo
        .current_dir(workspace::root()?)
        .stdin(Stdio::null())
        .args([command, "--locked", "--package", "lb-agent", "--bin", "lb-agent"])
        .args(["--profile", profile.as_cargo_has_it().name, "--target", architecture.target()])
        .env("CARGO_ZIGBUILD_ZIG_PATH", zig::installed()?);
    if profile == Profile::Dev {
        // Nobody debugs it there, and it is copied to each node.
        cargo.args(["--config", "profile.dev.strip=\"debuginfo\""]);
    }
    Ok(cargo)
}

/// The standard library for the target: there already, or got by rustup.
fn ensure_target(target: &str) -> Result<()> {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    let folder = String::from_utf8(output.context("rustc does not start")?.stdout)?;
    if PathBuf::from(folder.trim()).is_dir() {
        return Ok(());
    }
    eprintln!("edgelb: getting the standard library for {target}");
    workspace::succeed(Command::new("rustup").args(["target", "add", target])).with_context(|| {
        format!("no standard library for {target}; this would help: rustup target add {target}")
    })
}
