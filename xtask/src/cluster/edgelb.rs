//! edgelb for the cluster: an image of what was just built, install.yaml and uninstall.yaml.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::app::architecture;
use crate::{
    dist,
    lab_program::Profile,
    oci::{self, Image},
    workspace::{root, target_dir},
};

/// What `lb-lab cluster up` is told besides.
pub(super) fn arguments(profile: &Profile) -> Result<Vec<OsString>> {
    let demo = root()?.join("deploy/overlays/demo");
    Ok(vec!["--image".into(), image(profile)?.into(), "--demo".into(), demo.into()])
}

/// The folder with `edgelb.tar`, and with the manifests as a release has them.
pub(super) fn files(profile: &Profile) -> Result<PathBuf> {
    let folder = target_dir()?.join("cluster");
    image(profile)?;
    for (file, of) in [("install.yaml", "base"), ("uninstall.yaml", "uninstall")] {
        fs::write(folder.join(file), dist::one_file(of, &dist::image_name())?)?;
    }
    Ok(folder)
}

/// An image of the agent as it was built for this: in a fraction of the time that the shipped one takes. It is no static
/// program, so the libraries come along.
fn image(profile: &Profile) -> Result<PathBuf> {
    let program = profile.program("lb-agent")?;
    let libraries = libraries(&program)?;
    let names: Vec<String> = libraries.iter().map(|path| path.trim_start_matches('/').to_owned()).collect();
    let mut files = vec![("lb-agent", read(&program)?)];
    for (name, path) in names.iter().zip(&libraries) {
        files.push((name, read(Path::new(path))?));
    }
    let archive = target_dir()?.join("cluster/edgelb.tar");
    let name = dist::image_name();
    let image = Image {
        name: &name,
        architecture: architecture(),
        folders: &["proc", "sys", "dev", "etc", "run", "tmp"],
        programs: &files,
        entrypoint: &["/lb-agent"],
        arguments: &["run"],
    };
    oci::write(&image, &archive)?;
    Ok(archive)
}

/// The files that the dynamic linker would load, itself included.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output().context("ldd does not start")?;
    ensure!(output.status.success(), "ldd does not understand {}", program.display());
    Ok(paths(&String::from_utf8_lossy(&output.stdout)))
}

/// `libc.so.6 => /lib/libc.so.6 (0x7f00)`, `/lib64/ld-linux-x86-64.so.2 (0x7f01)`; the vDSO has no file.
fn paths(ldd: &str) -> Vec<String> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(str::to_owned);
    ldd.lines().filter_map(path).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::paths;

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let said =
            "\tlinux-vdso.so.1 (0x7f)\n\tlibc.so.6 => /lib/libc.so.6 (0x7e)\n\t/lib64/ld.so.2 (0x7d)\n";
        assert_eq!(paths(said), ["/lib/libc.so.6", "/lib64/ld.so.2"]);
    }
}
