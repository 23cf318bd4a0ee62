//! The Go module of our own that requires one of the cluster's modules in its pinned version.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{go::Go, parts};
use crate::versions::GoModule;

/// Writes it where it is missing: the folder to build in.
pub(super) fn ensure(module: &GoModule, go: &Go) -> Result<PathBuf> {
    let folder = parts::folder(module)?.join("src");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let manifest = folder.join("go.mod");
    if manifest.is_file() {
        return Ok(folder);
    }
    let required = format!(
        "module edgelb.dev/cluster/{}\n\ngo 1.26.0\n\nrequire {} v{}\n",
        module.name, module.path, module.version
    );
    // Without a go.mod in sight: a download needs none, and ours is written only once it is whole.
    let replaced = replacements(&theirs(module, go, &folder)?, module.version);
    let partial = folder.join(format!("go.mod.partial-{}", std::process::id()));
    fs::write(&partial, required + &replaced)?;
    fs::rename(&partial, &manifest)?;
    Ok(folder)
}

/// The go.mod of the module itself.
fn theirs(module: &GoModule, go: &Go, folder: &std::path::Path) -> Result<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Download {
        go_mod: PathBuf,
    }
    let name = format!("{}@v{}", module.path, module.version);
    let output = go.command(folder).args(["mod", "download", "-json", &name]).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{name} cannot be had: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let download: Download = serde_json::from_str(&said).with_context(|| format!("go said: {said}"))?;
    fs::read_to_string(&download.go_mod).with_context(|| format!("{}", download.go_mod.display()))
}

/// Kubernetes' own go.mod takes its staging modules from folders beside it; published, `v1.36.3` of the one is
/// `v0.36.3` of the others.
fn replacements(go_mod: &str, version: &str) -> String {
    let Some((_, staging)) = version.split_once('.') else { return String::new() };
    let replaced = go_mod.lines().filter_map(|line| line.trim().split_once(" => ./staging/"));
    replaced.map(|(name, _)| format!("\nreplace {name} => {name} v0.{staging}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::replacements;

    #[test]
    fn staging_modules_are_replaced_by_their_published_versions() {
        let theirs = "require k8s.io/api v0.0.0\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n)\n";
        assert_eq!(replacements(theirs, "1.36.3"), "\nreplace k8s.io/api => k8s.io/api v0.36.3\n");
        assert_eq!(replacements("require x v1.0.0", "3.6.16"), "");
    }
}
