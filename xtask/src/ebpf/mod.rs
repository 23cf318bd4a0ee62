//! Builds the kernel program `lb-ebpf` into `target/bpf/edgelb.bpf.o`. Std only: `lb-agent/build.rs` includes
//! this folder, so that a plain `cargo build` does the same as `cargo xtask build-ebpf`.

mod environment;
mod error;
mod strip;
mod toolchain;
pub(crate) mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::versions::BPF_TARGET;
use error::Context as _;

pub(crate) use environment::leave_outer_cargo;
pub(crate) use error::BuildError;
pub(crate) use toolchain::Toolchain;
pub(crate) use tools::installed;

/// One of the profiles of the workspace's `Cargo.toml` that objects are built with.
#[derive(Clone, Copy)]
pub(crate) struct Profile {
    /// Cargo's name for it.
    pub(crate) name: &'static str,
    /// The object's file below `target/bpf`.
    pub(crate) object: &'static str,
}

/// As the agent has it.
pub(crate) const SHIPPED: Profile = Profile { name: "bpf", object: "edgelb.bpf.o" };

/// Compiles and links the object, installing the linker and `rust-src` where they are missing.
/// Returns the object's path. What cargo made, with its debug information, stays below `target/bpf`.
pub(crate) fn build(workspace: &Path) -> Result<PathBuf, BuildError> {
    build_as(workspace, SHIPPED)
}

/// The same by another profile.
pub(crate) fn build_as(workspace: &Path, profile: Profile) -> Result<PathBuf, BuildError> {
    run(&mut kernel_cargo(workspace, "build", profile)?, "the BPF object does not build")?;
    let target_dir = target_dir(workspace);
    let built = target_dir.join(BPF_TARGET).join(profile.name).join("lb-ebpf");
    let object = target_dir.join(profile.object);
    let read = fs::read(&built).context(|| format!("cannot read {}", built.display()))?;
    let stripped = strip::without_debug_info(&read)
        .ok_or_else(|| BuildError::new(format!("{} is no object", built.display())))?;
    let copy = built.with_extension("stripped");
    fs::write(&copy, stripped).context(|| format!("cannot write {}", copy.display()))?;
    copy_if_changed(&copy, &object)?;
    Ok(object)
}

/// `cargo build` or `cargo clippy` of the kernel program.
pub(crate) fn kernel_cargo(
    workspace: &Path,
    subcommand: &str,
    profile: Profile,
) -> Result<Command, BuildError> {
    let toolchain = Toolchain::with_rust_src()?;
    let linker = installed("bpf-linker", &toolchain)?;
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(workspace)
        .args([subcommand, "--locked", "--package", "lb-ebpf", "--bin", "lb-ebpf", "--features", "kernel"])
        .args(["--target", BPF_TARGET, "-Zbuild-std=core", "--profile", profile.name, "--target-dir"])
        .arg(target_dir(workspace))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", "-Clink-arg=--btf")
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
    Ok(cargo)
}

/// Copies `from` to `to` unless they are equal already, so that an unchanged object keeps its time and
/// nothing that embeds it is built again.
pub(crate) fn copy_if_changed(from: &Path, to: &Path) -> Result<(), BuildError> {
    let wanted = fs::read(from).context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    let partial = to.with_extension(format!("partial-{}", std::process::id()));
    fs::write(&partial, wanted).context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, to).context(|| format!("cannot write {}", to.display()))
}

/// A target folder of its own: a nested cargo that shared ours would wait for its lock for ever.
fn target_dir(workspace: &Path) -> PathBuf {
    workspace.join("target").join("bpf")
}

/// Runs `command` with its output going where ours goes, but never into our standard output, which
/// belongs to cargo when this runs inside a build script.
fn run(command: &mut Command, failure: &str) -> Result<(), BuildError> {
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .context(|| format!("cannot start {}", command.get_program().display()))?;
    if status.success() { Ok(()) } else { Err(BuildError::new(format!("{failure} ({status})"))) }
}
