//! Embeds the BPF object: builds `lb-ebpf` as `cargo xtask build-ebpf` does, and tells the crate where it is.
//! An object that the user names in `EDGELB_BPF_OBJECT` (a path from the workspace's root) is taken instead.

#[path = "../xtask/src/ebpf/mod.rs"]
mod ebpf;
#[expect(dead_code, reason = "those of the test cluster")]
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
    let workspace = from_cargo("CARGO_MANIFEST_DIR").join("..");
    println!("cargo:rerun-if-env-changed={OBJECT}");
    let object = match env::var_os(OBJECT) {
        Some(given) => Ok(watched(workspace.join(given))),
        None => built(&workspace),
    };
    match object {
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

/// Our own object, in a copy that only this build script writes.
fn built(workspace: &Path) -> Result<PathBuf, ebpf::BuildError> {
    for source in SOURCES {
        watched(workspace.join(source));
    }
    let copy = from_cargo("OUT_DIR").join("edgelb.bpf.o");
    ebpf::copy_if_changed(&ebpf::build(workspace)?, &copy)?;
    Ok(copy)
}

/// Has this script run again when the file or anything in the folder changes.
fn watched(path: PathBuf) -> PathBuf {
    println!("cargo:rerun-if-changed={}", path.display());
    path
}

/// A folder that cargo names to every build script.
fn from_cargo(variable: &str) -> PathBuf {
    env::var_os(variable).unwrap_or_default().into()
}
