//! Keeps the stored snapshot up to date: soon after changes, and rarely enough that it costs next to nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;
use tracing::{info, warn};

use super::state::State;
use super::stored::{self, Contents, Stored};
use crate::model::Kind;
use crate::source::Object;

/// The file's name in the folder.
const FILE: &str = "snapshot";

/// Not sooner after the first change.
const SOON: Duration = Duration::from_secs(1);

/// Between two writings so many times what the last one took: a hundredth of a core at most.
const REST: u32 = 100;

/// What could not be written is tried again after this, though nothing changed: a disk may have been full.
const AGAIN: Duration = Duration::from_secs(30);

/// Writes the file.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    node: String,
    due: Option<Instant>,
    /// The end of the rest.
    rested: Instant,
    writing: Option<JoinHandle<(io::Result<()>, Duration)>>,
    /// Whether the last one failed: told once.
    has_failed: bool,
}

/// The file on its way from the disk.
#[derive(Debug)]
pub(super) struct Loading {
    /// What was in it, if it is of use.
    pub(super) found: JoinHandle<Option<Stored>>,
    /// Whether that was taken.
    pub(super) is_done: bool,
}

impl Keeper {
    pub(super) fn new(folder: &Path, node: &str) -> Self {
        Self {
            path: folder.join(FILE),
            node: node.to_owned(),
            due: None,
            rested: Instant::now(),
            writing: None,
            has_failed: false,
        }
    }

    /// Reads what an earlier agent left here.
    pub(super) fn load(&self) -> Loading {
        let (path, node) = (self.path.clone(), self.node.clone());
        let found = spawn_blocking(move || {
            stored::read(&path, &node).unwrap_or_else(|error| {
                warn!(file = %path.display(), %error, "the stored snapshot is not used");
                None
            })
        });
        Loading { found, is_done: false }
    }

    /// The state changed.
    pub(super) fn touch(&mut self) {
        self.due.get_or_insert_with(|| (Instant::now() + SOON).max(self.rested));
    }

    /// When to write.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.writing.is_none())
    }

    /// Begins to write. The objects are shared, and what is made of them goes to the file at once.
    pub(super) fn write(&mut self, state: &State) {
        self.due = None;
        let Some(cluster) = state.cluster.clone() else { return };
        let is_of_use = |object: &&Object| !matches!(object, Object::ConfigMap(_));
        // A start goes on with the last good history, not with what somebody made of it since.
        let history = state.index.history().map(|good| Object::EdgeMembership(Arc::clone(good)));
        let is_other = |object: &&Object| object.kind() != Kind::EdgeMembership;
        let others = state.index.objects().filter(is_of_use).filter(is_other).cloned();
        let objects = others.chain(history).collect();
        let (node, flow_key) = (self.node.clone(), state.flow_key.clone());
        let contents = Contents { node, cluster, flow_key, objects };
        let path = self.path.clone();
        self.writing = Some(spawn_blocking(move || {
            let begun = Instant::now();
            let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            (folder.and_then(|()| stored::write(&path, &contents)), begun.elapsed())
        }));
    }

    /// Waits for the end of it.
    pub(super) async fn written(&mut self) {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        let result = writing.await;
        self.writing = None;
        let (result, took) = result.unwrap_or_else(|error| (Err(io::Error::other(error)), Duration::ZERO));
        self.rested = Instant::now() + took * REST;
        if result.is_err() {
            self.rested = self.rested.max(Instant::now() + AGAIN);
            self.due.get_or_insert(self.rested);
        }
        self.due = self.due.map(|due| due.max(self.rested));
        let file = self.path.display();
        match result {
            Ok(()) if self.has_failed => info!(%file, "the snapshot is stored again"),
            Err(ref error) if !self.has_failed => {
                warn!(%file, %error, "the snapshot cannot be stored: a start needs the API server");
            }
            _ => {}
        }
        self.has_failed = result.is_err();
    }
}
