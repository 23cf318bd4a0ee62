//! A test in a lab: when it fails, what the agents said and the packets that the router saw stay in
//! `target/lab/<test>/`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::recorder::Recorder;
use super::{Lab, Node, Topology};

/// Raises a lab and runs a test in it. If the test fails or panics, logs and manifests are saved first.
///
/// # Errors
/// The test's own, or the lab's.
pub fn run(test: &str, topology: &Topology, body: impl FnOnce(&mut Lab) -> Result<()>) -> Result<()> {
    let mut lab = Lab::start(topology)?;
    let recorder = Recorder::start(&lab.router)?;
    let result = catch_unwind(AssertUnwindSafe(|| body(&mut lab)));
    if !matches!(result, Ok(Ok(()))) {
        match save(&lab, Some(recorder), test) {
            Ok(place) => eprintln!("{test}: logs and packets are in {}", place.display()),
            Err(error) => eprintln!("{test}: logs and packets could not be saved: {error:#}"),
        }
    }
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Keeps what the agents said and, if packets were recorded, those: the folder.
pub(crate) fn save(lab: &Lab, recorder: Option<Recorder>, test: &str) -> Result<PathBuf> {
    let place = target()?.join("lab").join(test);
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    for part in ["log", "manifests"] {
        fs::create_dir_all(place.join(part))?;
        for file in fs::read_dir(lab.folder().join(part))? {
            let file = file?;
            fs::copy(file.path(), place.join(part).join(file.file_name()))?;
        }
    }
    if let Some(recorder) = recorder {
        recorder.save(&place.join("router.pcapng"))?;
    }
    for node in &lab.edges {
        ask(node, "/metrics", &place.join(format!("{}.metrics", node.name)))?;
        ask(node, "/debug/snapshot", &place.join(format!("{}.snapshot", node.name)))?;
    }
    Ok(place)
}

/// Keeps what the node's agent answers, if it does.
fn ask(node: &Node, path: &str, place: &Path) -> Result<()> {
    match node.admin(path) {
        Ok(answer) => Ok(fs::write(place, answer.body)?),
        Err(_) => Ok(()),
    }
}

/// The build's target folder: the one that cargo marks as a cache, above this executable.
///
/// # Errors
/// If there is none.
pub fn target() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let marked = own.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    Ok(marked.context("this program is in no target folder")?.to_owned())
}
