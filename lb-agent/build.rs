//! Embeds the BPF object: builds `lb-ebpf` as `cargo xtask build-ebpf` does, and tells the crate where it is.
//! An object that the user names in `EDGELB_BPF_OBJECT` is taken instead.

#[path = "../xtask/src/ebpf/mod.rs"]
mod ebpf;
#[path = "../xtask/src/versions.rs"]
mod versions;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

const OBJECT: &str = "EDGELB_BPF_OBJECT";

/// What the object is made of, relative to the workspace: a change of any of them makes it stale.
const SOURCES: [&str; 8] = [
    "Cargo.lock",
    "Cargo.toml",
    "lb-common/Cargo.toml",
    "lb-common/src",
    "lb-ebpf/Cargo.toml",
    "lb-ebpf/src",
    "xtask/src/ebpf",
    "xtask/src/versions.rs",
];

fn main() -> ExitCode {
    println!("cargo:rerun-if-env-changed={OBJECT}");
    match object() {
        Ok(path) => {
            println!("cargo:rustc-env={OBJECT}={}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The user's object, or our own in a copy that only this build script writes.
fn object() -> Result<PathBuf, ebpf::BuildError> {
    if let Some(given) = env::var_os(OBJECT) {
        println!("cargo:rerun-if-changed={}", Path::new(&given).display());
        return Ok(given.into());
    }
    let workspace = Path::new("..").canonicalize().unwrap_or_default();
    for source in SOURCES {
        println!("cargo:rerun-if-changed={}", workspace.join(source).display());
    }
    let copy = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("edgelb.bpf.o");
    ebpf::copy_if_changed(&ebpf::build(&workspace)?, &copy)?;
    Ok(copy)
}
