//! Where the programs of the cluster are: in the folders that `cargo xtask` names in `LB_CLUSTER_PATH`, else where it
//! keeps them in the cache.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::installed::cache;
use crate::versions::CLUSTER;

/// The folders with programs, as `PATH` has them for the shell.
const PATH: &str = "LB_CLUSTER_PATH";

/// The path of a program: `etcd`, `kube-apiserver`, `kubelet`, `ptp`.
///
/// # Errors
/// Says how to build it, if it is not there.
pub fn program(name: &str) -> Result<PathBuf> {
    let found = folders()?.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("no {name}: `cargo xtask cluster build` builds it, or set {PATH}"))
}

/// The version of the API server, as it says it of itself: `v1.36.3`.
#[must_use]
pub fn kubernetes_version() -> String {
    CLUSTER.iter().filter(|module| module.name == "kubernetes").map(|it| format!("v{}", it.version)).collect()
}

fn folders() -> Result<Vec<PathBuf>> {
    if let Some(path) = env::var_os(PATH) {
        return Ok(env::split_paths(&path).collect());
    }
    let cache = cache()?.join("cluster");
    let folder = |name, version| cache.join(format!("{name}-{version}")).join("bin");
    Ok(CLUSTER.iter().map(|module| folder(module.name, module.version)).collect())
}
