//! A test in a cluster: when it fails, what all programs said stays in `target/lab/<test>/`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use anyhow::Result;

use super::raise::{Cluster, Settings};
use crate::lab::target;

/// Raises a cluster and runs a test in it. If the test fails or panics, the logs are saved first.
///
/// # Errors
/// The test's own, or the cluster's.
pub fn run(test: &str, settings: &Settings, body: impl FnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
    let mut cluster = Cluster::start(settings)?;
    let result = catch_unwind(AssertUnwindSafe(|| body(&mut cluster)));
    if !matches!(result, Ok(Ok(()))) {
        match save(&cluster, test) {
            Ok(place) => eprintln!("{test}: logs are in {}", place.display()),
            Err(error) => eprintln!("{test}: logs could not be saved: {error:#}"),
        }
    }
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

fn save(cluster: &Cluster, test: &str) -> Result<PathBuf> {
    let place = target()?.join("lab").join(test);
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir_all(&place)?;
    for file in fs::read_dir(cluster.control_plane.folder().join("log"))? {
        let file = file?;
        fs::copy(file.path(), place.join(file.file_name()))?;
    }
    for node in cluster.nodes.iter().filter(|node| node.is_on()) {
        let (_, said) = node.output(&["sh", "-c", "tail -n +1 /var/log/pods/*/*/*.log"])?;
        fs::write(place.join(format!("{}-pods.log", node.name)), said)?;
    }
    Ok(place)
}
