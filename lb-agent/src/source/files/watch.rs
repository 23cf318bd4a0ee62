//! When to look at the folder again: what inotify says about it, once it has gone quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// A change counts once nothing else happened for this long...
pub(super) const QUIET: Duration = Duration::from_millis(10);

/// ...or at the latest so long after the first of a series.
const AT_MOST: Duration = Duration::from_millis(100);

/// A file that was modified is left alone until its writer closes it; or until the writer, who still has it open,
/// wrote nothing for so long that he seems to have forgotten it.
pub(super) const WRITING: Duration = Duration::from_secs(5);

/// Changes of a folder since they were last asked for.
#[derive(Debug)]
pub(super) struct Watch {
    /// Ends the watch when dropped.
    _watcher: RecommendedWatcher,
    events: mpsc::UnboundedReceiver<notify::Result<notify::Event>>,
    activity: Activity,
}

impl Watch {
    /// Starts to watch the folder and all below it.
    ///
    /// # Errors
    /// What the operating system says, most often that there are too many watches.
    pub(super) fn start(root: &Path) -> notify::Result<Self> {
        let (sender, events) = mpsc::unbounded_channel();
        let mut watcher = notify::recommended_watcher(move |event| {
            // Nobody listens any more while the watch is being dropped.
            let _ = sender.send(event);
        })?;
        watcher.watch(root, RecursiveMode::Recursive)?;
        let activity = Activity { root: root.to_owned(), ..Activity::default() };
        Ok(Self { _watcher: watcher, events, activity })
    }

    /// Waits until something happened and went quiet, or a file was held long enough: `true`. `false` if for all of
    /// `patience` nothing did.
    pub(super) async fn settled(&mut self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let wake = self.activity.first_deadline().map_or(end, |deadline| deadline.min(end));
        loop {
            match timeout_at(wake, self.events.recv()).await {
                Ok(Some(event)) => {
                    if self.activity.note(event) {
                        break;
                    }
                }
                Ok(None) | Err(_) => return wake < end,
            }
        }
        let latest = Instant::now() + AT_MOST;
        while let Ok(Ok(Some(event))) = timeout_at(latest, timeout(QUIET, self.events.recv())).await {
            self.activity.note(event);
        }
        true
    }

    /// The files that were touched since the last call, and those that are being written.
    pub(super) fn take(&mut self) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
        while let Ok(event) = self.events.try_recv() {
            self.activity.note(event);
        }
        self.activity.take(Instant::now())
    }

    /// Whether the folder itself was deleted or moved: what is now at its path is not watched. Its inode number
    /// proves nothing, since it may be given to the next folder at once.
    pub(super) fn is_lost(&self) -> bool {
        self.activity.is_lost
    }

    /// Whether the file is being written, by all that is known now: then what was read of it may be half of it.
    pub(super) fn is_disturbed(&mut self, file: &Path) -> bool {
        while let Ok(event) = self.events.try_recv() {
            self.activity.note(event);
        }
        self.activity.writing.contains_key(file)
    }
}

/// What the events so far say.
#[derive(Debug, Default)]
struct Activity {
    root: PathBuf,
    is_lost: bool,
    touched: BTreeSet<PathBuf>,
    /// Files modified and not closed, each with the time of its last modification.
    writing: BTreeMap<PathBuf, Instant>,
}

impl Activity {
    /// Takes in an event; says whether it means a change. Reading, which we do ourselves, does not.
    fn note(&mut self, event: notify::Result<notify::Event>) -> bool {
        let Ok(event) = event else { return true };
        let (is_modified, is_over) = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => (false, true),
            EventKind::Access(_) => return false,
            EventKind::Modify(ModifyKind::Data(_)) => (true, false),
            EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => (false, true),
            _ => (false, false),
        };
        for path in event.paths {
            if is_over {
                self.writing.remove(&path);
                self.is_lost |= path == self.root;
            }
            if is_modified {
                self.writing.insert(path.clone(), Instant::now());
            }
            self.touched.insert(path);
        }
        true
    }

    fn first_deadline(&self) -> Option<Instant> {
        self.writing.values().min().map(|&since| since + WRITING)
    }

    fn take(&mut self, now: Instant) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
        // Held long enough: taken as it is, and again when the writer closes it.
        let (writing, overdue): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.writing).into_iter().partition(|(_, since)| *since + WRITING > now);
        self.writing = writing;
        let mut touched = std::mem::take(&mut self.touched);
        touched.extend(overdue.into_keys());
        let held: BTreeSet<PathBuf> = self.writing.keys().cloned().collect();
        // Still to be read, by whatever event ends the writing.
        (touched.difference(&held).cloned().collect(), held)
    }
}

#[cfg(test)]
mod tests {
    use notify::Event;
    use notify::event::DataChange;

    use super::*;

    /// However long all of it takes: what stands in the file meanwhile is a part.
    #[tokio::test]
    async fn a_file_is_held_as_long_as_its_writer_goes_on() {
        let file = PathBuf::from("/manifests/a.yaml");
        let modified =
            || Ok(Event::new(EventKind::Modify(ModifyKind::Data(DataChange::Any))).add_path(file.clone()));
        let mut activity = Activity::default();
        activity.note(modified());
        let long_ago = Instant::now().checked_sub(WRITING).expect("the machine runs for longer");
        activity.writing.insert(file.clone(), long_ago);
        activity.note(modified());
        assert_eq!(activity.take(Instant::now()), (BTreeSet::new(), BTreeSet::from([file.clone()])));
        assert_eq!(
            activity.take(Instant::now() + WRITING),
            (BTreeSet::from([file.clone()]), BTreeSet::new())
        );
    }
}
