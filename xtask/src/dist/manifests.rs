//! `install.yaml`: what `kubectl apply -k` would apply, in one file. The files of a kustomization one after the other,
//! for as long as it only lists them: what kustomize would change in them is refused here, so that the two cannot
//! differ.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace;

/// A line of a kustomization that says what it is.
const HEADERS: [&str; 3] =
    ["apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization", "resources:"];

/// The manifests of a folder of `deploy`, whose containers must be of `image`.
pub(crate) fn one_file(folder: &str, image: &str) -> Result<String> {
    let text = collect(&workspace::root()?.join("deploy").join(folder))?;
    let images = text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("image: "));
    for named in images {
        ensure!(named == image, "a manifest of deploy/{folder} names the image {named}, but this is {image}");
    }
    Ok(text)
}

fn collect(folder: &Path) -> Result<String> {
    let file = folder.join("kustomization.yaml");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let resources = resources(&text).with_context(|| format!("{}", file.display()))?;
    let mut all = Vec::new();
    for path in resources.into_iter().map(|resource| folder.join(resource)) {
        all.push(if path.is_dir() { collect(&path)? } else { manifest(&path)? });
    }
    Ok(all.join("---\n"))
}

fn manifest(path: &PathBuf) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(text.ends_with('\n'), "{} has no end of line at its end", path.display());
    Ok(text)
}

/// What a kustomization lists, if that is all that it does.
fn resources(kustomization: &str) -> Result<Vec<&str>> {
    let mut resources = Vec::new();
    for line in kustomization.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("  - ") {
            Some(resource) => resources.push(resource),
            None if HEADERS.contains(&line) => {}
            None => bail!("`{line}` is more than a list of resources"),
        }
    }
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_lists_are_taken() {
        let plain = "# words\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - a.yaml\n  - ../b\n";
        assert_eq!(resources(plain).expect("a list"), ["a.yaml", "../b"]);
        for more in ["namePrefix: x\n", "patches:\n  - path: a.yaml\n"] {
            assert!(resources(&[plain, more].concat()).is_err(), "{more}");
        }
    }

    #[test]
    fn what_is_shipped_is_of_this_version() {
        for folder in ["base", "uninstall"] {
            let text = one_file(folder, &super::super::image_name()).expect("the manifests");
            assert!(text.starts_with("apiVersion") || text.starts_with('#'), "{text}");
            assert!(text.contains("kind: DaemonSet"), "{folder}");
        }
    }
}
