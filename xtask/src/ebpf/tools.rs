//! The project's own tool folder: pinned cargo programs, one folder for each version, never over the user's.

use std::{env, path::PathBuf, time::Instant};

use super::{BuildError, Toolchain, run};
use crate::versions::{TOOLS, Tool};

/// They run for seconds, and a machine that has nothing yet waits for them.
const QUICK_TO_BUILD: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
];

/// The path of the pinned program `name`, which is built with `toolchain` first where it is missing.
pub(crate) fn installed(name: &str, toolchain: &Toolchain) -> Result<PathBuf, BuildError> {
    let Tool { version, flags, .. } = pinned(name)?;
    let root = folder(name, version)?;
    let program = root.join("bin").join(name);
    if !program.is_file() {
        eprintln!("edgelb: installing {name} {version} into {} (once, one or two minutes)", root.display());
        let start = Instant::now();
        let mut cargo = toolchain.cargo();
        cargo.args(["install", "--locked", "--version", version, "--root"]).arg(&root).args(*flags).arg(name);
        cargo.envs(QUICK_TO_BUILD);
        run(&mut cargo, &format!("{name} {version} does not install"))?;
        eprintln!("edgelb: {name} {version} took {} s", start.elapsed().as_secs());
    }
    Ok(program)
}

fn pinned(name: &str) -> Result<&'static Tool, BuildError> {
    TOOLS
        .iter()
        .find(|tool| tool.name == name)
        .ok_or_else(|| BuildError::new(format!("{name} has no pinned version")))
}

/// Where a program or library that we install for ourselves is, or will be.
pub(crate) fn folder(name: &str, version: &str) -> Result<PathBuf, BuildError> {
    Ok(cache()?.join("tools").join(format!("{name}-{version}")))
}

/// `$EDGELB_CACHE`, or `edgelb` in the user's cache folder.
pub(crate) fn cache() -> Result<PathBuf, BuildError> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("EDGELB_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("edgelb")))
        .or_else(|| set("HOME").map(|home| home.join(".cache").join("edgelb")))
        .ok_or_else(|| BuildError::new("no place for tools").remedy("export EDGELB_CACHE=/path/to/a/folder"))
}
