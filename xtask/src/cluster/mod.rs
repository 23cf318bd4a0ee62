//! The programs of the test cluster: real Kubernetes, etcd and containerd, built from Go modules into the cache.

mod app;
mod assets;
mod build;
mod edgelb;
mod go;
mod module;
mod parts;
mod task;

use std::{env, ffi::OsString};

use anyhow::{Context, Result};

pub(crate) use task::{Options, run};

use crate::lab_program::Profile;

/// Names the folders in which the harness finds the cluster's programs, as `PATH` does for the shell.
const PATH_VARIABLE: &str = "LB_CLUSTER_PATH";

/// Names the archive with the image of `tests/app`.
const IMAGE_VARIABLE: &str = "LB_APP_IMAGE";

/// Names a backend of the proxy tier, written in Go.
const BACKEND_VARIABLE: &str = "LB_GO_BACKEND";

/// Names the folder with an image of the agent, install.yaml and uninstall.yaml.
const EDGELB_VARIABLE: &str = "LB_EDGELB";

/// How much of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    /// Nothing of it: what judges the proxy, and a backend of it.
    Judges,
    /// What serves objects, and acts on them.
    ControlPlane,
    /// That, and what a node runs.
    Nodes,
}

/// Builds what is missing: the environment in which the harness finds it.
pub(crate) fn build(extent: Extent) -> Result<Vec<(&'static str, OsString)>> {
    let needed = match extent {
        Extent::Judges => parts::JUDGES.to_vec(),
        Extent::ControlPlane => parts::CONTROL_PLANE.to_vec(),
        Extent::Nodes => parts::CONTROL_PLANE.into_iter().chain(parts::NODE).collect(),
    };
    let missing: Vec<_> = needed.iter().filter(|part| !part.is_built()).collect();
    for (index, part) in missing.iter().enumerate() {
        build::ensure(part, &format!("{} of {}", index + 1, missing.len()))
            .with_context(|| format!("{} cannot be built", part.program))?;
    }
    let folders = env::join_paths(parts::folders()?).context("a path of the cache has a colon in it")?;
    let mut environment = vec![(PATH_VARIABLE, folders)];
    if extent == Extent::Judges {
        environment.push((BACKEND_VARIABLE, app::program("tests/proxy/backends/go", "go-backend")?.into()));
    }
    if extent == Extent::Nodes {
        environment.push((IMAGE_VARIABLE, app::image()?.into()));
    }
    Ok(environment)
}

/// Makes an image of the agent that is built, and its manifests: the environment in which the harness finds them.
pub(crate) fn edgelb(profile: &Profile) -> Result<(&'static str, OsString)> {
    Ok((EDGELB_VARIABLE, edgelb::files(profile)?.into()))
}
