//! The folder source at work: watch, read, translate, publish.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::Sender;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::warn;

use super::folder::{Changes, Folder, Look, Refreshed};
use super::scan::{self, Identity};
use super::watch::{QUIET, Watch};
use super::{FolderError, with_problems};
use crate::model::{Problem, Snapshot};
use crate::source::publish::{Publisher, now};
use crate::source::resolver::Resolver;
use crate::source::{Index, Settings, Translator};

/// A folder that is away is looked for this often.
const AWAY: Duration = Duration::from_millis(250);

/// Another folder that was put in its place is noticed so soon: the link to it is not watched.
const REPLACED: Duration = Duration::from_secs(1);

/// Without any word from inotify: links out of the folder, network file systems.
const RESCAN: Duration = Duration::from_secs(10);

/// Looks at a folder in which something is unsettled, before what is settled is published without it.
const UNSETTLED: u32 = 5;

/// Translated anew at least this often, for what changes by time alone: certificates expire.
const RETRANSLATE: Duration = Duration::from_secs(3600);

/// Follows the folder: publishes its state once all of it was read, and then whenever it changes. Ends when nobody
/// listens any more.
///
/// # Errors
/// `FolderError` if at the start there is no such folder, or it cannot be watched. Later on, a folder that is away
/// keeps its last state.
pub async fn run(
    folder: PathBuf,
    settings: Settings,
    snapshots: Sender<Option<Arc<Snapshot>>>,
) -> Result<(), FolderError> {
    let unreadable = |source| FolderError::Unreadable { folder: folder.clone(), source };
    let identity = scan::identity(&folder).map_err(unreadable)?;
    // Events name files by absolute paths.
    let folder = std::path::absolute(&folder).map_err(unreadable)?;
    let watch = Watch::start(&folder)
        .map_err(|source| FolderError::Unwatchable { folder: folder.clone(), source })?;
    let mut follower = Follower {
        folder: Folder::new(folder),
        watch,
        index: Index::default(),
        translator: Translator::new(settings),
        publisher: Publisher::new(snapshots.clone()),
        unsettled: 0,
        translated: None,
        watched: Some(identity),
        looked: Instant::now(),
        problems: Vec::new(),
    };
    let mut resolver = Resolver::new();
    let mut refreshed;
    (follower, refreshed) = follower.refresh(false).await;
    loop {
        resolver.want(&follower.translator.external_names());
        let patience = match refreshed {
            Refreshed::Current => REPLACED,
            Refreshed::Unsettled => QUIET,
            Refreshed::Away => AWAY,
        };
        let is_changed = tokio::select! {
            is_changed = follower.watch.settled(patience) => is_changed,
            () = resolver.changed() => {
                follower.index.take_answers(resolver.answers());
                true
            }
            () = snapshots.closed() => return Ok(()),
        };
        let is_replaced = follower.follow_folder().await;
        if refreshed == Refreshed::Current
            && !is_changed
            && !is_replaced
            && follower.looked.elapsed() < RESCAN
        {
            continue;
        }
        // The second look at what was unsettled is not patient: it may never rest.
        let is_patient = refreshed == Refreshed::Current;
        (follower, refreshed) = follower.refresh(is_patient).await;
    }
}

/// All that the source holds between two changes.
struct Follower {
    folder: Folder,
    watch: Watch,
    index: Index,
    translator: Translator,
    publisher: Publisher,
    /// Looks in a row that found something unsettled.
    unsettled: u32,
    translated: Option<Instant>,
    /// The folder that is watched; `None` while it is away.
    watched: Option<Identity>,
    /// When the folder was last looked at.
    looked: Instant,
    /// What was wrong with the files when it was translated.
    problems: Vec<Problem>,
}

impl Follower {
    /// Watches the folder that is now at the path, if it is not the one that is watched; says whether it is not.
    async fn follow_folder(&mut self) -> bool {
        let found = scan::identity(self.folder.root()).ok();
        if found == self.watched && !self.watch.is_lost() {
            return false;
        }
        self.watched = None;
        if found.is_some() {
            match Watch::start(self.folder.root()) {
                // Had yet another one come meanwhile, the next call would see it.
                Ok(watch) => (self.watch, self.watched) = (watch, found),
                Err(error) => {
                    warn!(folder = %self.folder.root().display(), %error, "cannot watch the manifests folder");
                }
            }
            self.watch.settled(QUIET).await;
        }
        true
    }

    /// Looks at the folder and publishes what it finds, apart from the runtime's threads: it reads and parses.
    async fn refresh(self, is_patient: bool) -> (Self, Refreshed) {
        let mut this = self;
        let work = spawn_blocking(move || {
            let refreshed = this.look(is_patient);
            (this, refreshed)
        });
        work.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("blocking work is not cancelled"),
        })
    }

    fn look(&mut self, is_patient: bool) -> Refreshed {
        self.looked = Instant::now();
        let (touched, held) = self.watch.take();
        let watch = &mut self.watch;
        let mut is_disturbed = |file: &Path| watch.is_disturbed(file);
        let refreshed =
            self.folder.refresh(Look { touched, held, is_patient, is_disturbed: &mut is_disturbed });
        self.unsettled = if refreshed == Refreshed::Unsettled { self.unsettled + 1 } else { 0 };
        if self.unsettled == 0 || self.unsettled > UNSETTLED {
            let (changes, problems) = self.folder.merge(&mut self.index);
            self.publish(changes, problems);
        }
        refreshed
    }

    fn publish(&mut self, changes: Changes, problems: Vec<Problem>) {
        let is_due = self.translated.is_none_or(|last| last.elapsed() >= RETRANSLATE);
        let is_changed = changes != Changes::default() || self.index.is_changed();
        if is_due || is_changed || problems != self.problems {
            let snapshot = self.translator.translate(&mut self.index, now());
            self.translated = Some(Instant::now());
            self.problems.clone_from(&problems);
            self.publisher.publish(with_problems(snapshot, problems), &changes);
        }
    }
}
