//! Builds one program of the cluster, or takes it from where the user has it. Whole or not at all: what stands
//! under its name is complete, however the last build ended.

use std::{
    fs::{self, File},
    path::Path,
    time::Instant,
};

use anyhow::{Context, Result};

use super::{
    assets,
    go::{Go, WITHOUT_DEBUG_INFO},
    module,
    parts::{self, Part},
};
use crate::workspace::succeed;

/// Makes sure that it is there; `progress` is shown.
pub(super) fn ensure(part: &Part, progress: &str) -> Result<()> {
    let file = part.file()?;
    let bin = file.parent().context("a file in a folder")?;
    fs::create_dir_all(bin).with_context(|| format!("cannot make {}", bin.display()))?;
    // Two builds of the same module would write the same go.mod.
    let lock = File::create(parts::folder(part.module())?.join("lock"))?;
    lock.lock()?;
    if part.is_built() {
        return Ok(());
    }
    match assets::find(part) {
        Some(theirs) => replace(&file, |partial| Ok(std::os::unix::fs::symlink(&theirs, partial)?)),
        None => build(part, &file, progress),
    }
}

fn build(part: &Part, file: &Path, progress: &str) -> Result<()> {
    let version = part.module().version;
    eprintln!(
        "edgelb: building {} {version} for the tests ({progress}; once, with nothing cached about {})",
        part.program, part.takes
    );
    let start = Instant::now();
    let go = Go::find()?;
    let folder = module::ensure(part.module(), &go)?;
    replace(file, |partial| {
        let mut command = go.command(&folder);
        command.arg("build").args(WITHOUT_DEBUG_INFO).args(["-ldflags", &linker_flags(part)]);
        if part.module().name == "containerd" {
            command.args(["-tags", "no_btrfs no_devmapper no_zfs no_aufs"]);
        }
        succeed(command.arg("-o").arg(partial).arg(part.import_path()))
    })?;
    eprintln!("edgelb: {} took {} s", part.program, start.elapsed().as_secs());
    Ok(())
}

/// Has `make` write beside `file`, and gives it its name when it is whole.
fn replace(file: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let partial = file.with_extension(format!("partial-{}", std::process::id()));
    let made = make(&partial);
    if made.is_err() {
        // Most often it was not even begun.
        let _ = fs::remove_file(&partial);
    }
    made?;
    fs::rename(&partial, file).with_context(|| format!("cannot write {}", file.display()))
}

/// Without a version a server says v0.0.0, and a kubelet refuses to work with it.
fn linker_flags(part: &Part) -> String {
    let version = part.module().version;
    let set = match part.module().name {
        "kubernetes" => {
            let mut numbers = version.split('.');
            let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
            let package = "k8s.io/component-base/version";
            format!(
                " -X {package}.gitVersion=v{version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
            )
        }
        "containerd" => format!(" -X {}/version.Version=v{version}", part.module().path),
        _ => String::new(),
    };
    format!("-s -w{set}")
}
