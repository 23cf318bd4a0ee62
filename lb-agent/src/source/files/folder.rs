//! The manifests folder as the agent holds it: the last good content of every file, merged into the index.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::file::{self, File, Placed};
use super::scan::{self, Stamp};
use crate::model::{Cause, ObjectRef, Origin, Problem};
use crate::source::Index;

/// A folder and what was read of it.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    files: BTreeMap<PathBuf, Known>,
    /// What cannot be read in the folder itself.
    problems: Vec<Problem>,
    /// What it gave to the index.
    applied: BTreeSet<ObjectRef>,
    /// Whether it was away: then it is not believed until it holds a manifest again.
    was_away: bool,
}

#[derive(Debug, Default)]
struct Known {
    stamp: Option<Stamp>,
    file: File,
}

/// What is known of a folder's files, by full path, when it is looked at.
pub(super) struct Look<'a> {
    /// Files that something happened to.
    pub(super) touched: BTreeSet<PathBuf>,
    /// Files that are being written: they stay as they were.
    pub(super) held: BTreeSet<PathBuf>,
    /// Whether a change that nobody told of waits for the next look: the word of it may be on its way.
    pub(super) is_patient: bool,
    /// Whether a file that was just read is being written after all.
    pub(super) is_disturbed: &'a mut dyn FnMut(&Path) -> bool,
}

impl Look<'_> {
    fn is_held(&self, file: &Path) -> bool {
        self.held.contains(file)
    }

    /// Whether a change of this file is to be followed now.
    fn is_certain(&self, file: &Path) -> bool {
        !self.is_patient || self.touched.contains(file)
    }
}

/// What a refresh found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refreshed {
    /// All files are as their texts say.
    Current,
    /// Some changed while they were looked at: ask again shortly.
    Unsettled,
    /// The folder is not there; what it held before stays.
    Away,
}

/// What a merge did to the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Changes {
    /// New objects.
    pub(super) added: usize,
    /// Objects that read otherwise than before, or stand elsewhere.
    pub(super) changed: usize,
    /// Objects that are gone.
    pub(super) removed: usize,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} added, {} changed, {} removed", self.added, self.changed, self.removed)
    }
}

impl Folder {
    /// The folder at this path, not read yet.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, files: BTreeMap::new(), problems: Vec::new(), applied: BTreeSet::new(), was_away: false }
    }

    /// Its path.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Reads what changed: files whose stamp is another one, and touched ones in any case.
    pub(super) fn refresh(&mut self, mut look: Look<'_>) -> Refreshed {
        let (stamps, failed) = scan::scan(&self.root);
        // Asked afterwards: had it vanished during the scan, its files would seem deleted.
        if let Err(error) = scan::identity(&self.root) {
            return self.away(&error.to_string());
        }
        if self.was_away && stamps.is_empty() && !self.files.is_empty() {
            return self.away("came back empty");
        }
        self.was_away = false;
        let out_of_sight: Vec<PathBuf> = failed.iter().map(|(path, _)| path.clone()).collect();
        let unreadable = |(path, error): (PathBuf, String)| {
            file::unreadable(&path, 1, &format!("cannot be read: {error}"))
        };
        self.problems = failed.into_iter().map(unreadable).collect();

        let gone: Vec<PathBuf> =
            self.files.keys().filter(|path| !stamps.contains_key(*path)).cloned().collect();
        let mut is_current = true;
        for path in gone {
            let full = self.root.join(&path);
            if look.is_held(&full) || out_of_sight.iter().any(|parent| path.starts_with(parent)) {
                continue;
            }
            match look.is_certain(&full) {
                true => drop(self.files.remove(&path)),
                false => is_current = false,
            }
        }
        for (path, stamp) in stamps {
            let full = self.root.join(&path);
            let known = self.files.get(&path).is_some_and(|known| known.stamp == Some(stamp));
            if look.is_held(&full) || (known && !look.touched.contains(&full)) {
                continue;
            }
            is_current &= look.is_certain(&full) && self.read(path, &full, &mut look);
        }
        if is_current { Refreshed::Current } else { Refreshed::Unsettled }
    }

    /// Reads a file anew; says whether it held still meanwhile.
    fn read(&mut self, path: PathBuf, full: &Path, look: &mut Look<'_>) -> bool {
        let content = scan::read(full);
        if (look.is_disturbed)(full) {
            return false;
        }
        let before = |files: &mut BTreeMap<_, Known>| files.remove(&path).unwrap_or_default();
        let known = match content {
            Ok((stamp, text)) => {
                let before = before(&mut self.files);
                Known { stamp: Some(stamp), file: File::read(&path, &text, before.file) }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::NotFound) => {
                return false;
            }
            Err(error) => {
                let before = before(&mut self.files);
                Known { file: File::kept(&path, &reason(&error), before.file), ..before }
            }
        };
        self.files.insert(path, known);
        true
    }

    fn away(&mut self, error: &str) -> Refreshed {
        let message = format!("{}: {error}; what it held before stays in force", self.root.display());
        self.problems = vec![Problem { origin: None, ..file::unreadable(Path::new(""), 0, &message) }];
        self.was_away = true;
        Refreshed::Away
    }

    /// Makes the index hold the folder's objects. Of several with one name, that of the first file by path counts.
    pub(super) fn merge(&mut self, index: &mut Index) -> (Changes, Vec<Problem>) {
        let mut changes = Changes::default();
        let mut problems = self.problems.clone();
        let mut winners: BTreeMap<&ObjectRef, (&Path, &Placed)> = BTreeMap::new();
        for (path, known) in &self.files {
            problems.extend(known.file.problems.iter().cloned());
            for placed in &known.file.objects {
                match winners.get(&placed.name) {
                    Some((first, winner)) => problems.push(duplicate(path, placed, first, winner)),
                    None => {
                        winners.insert(&placed.name, (path, placed));
                    }
                }
            }
        }
        self.applied.retain(|name| {
            let is_there = winners.contains_key(name);
            changes.removed += usize::from(!is_there && index.delete(name));
            is_there
        });
        for (path, placed) in winners.values() {
            match index.entry(&placed.name) {
                Some((object, origin))
                    if object.is_same(&placed.object) && is_at(origin, path, placed.line) =>
                {
                    continue;
                }
                Some(_) => changes.changed += usize::from(placed.apply(path, index)),
                None => changes.added += usize::from(placed.apply(path, index)),
            }
            if !self.applied.contains(&placed.name) {
                self.applied.insert(placed.name.clone());
            }
        }
        (changes, problems)
    }
}

impl Placed {
    fn apply(&self, path: &Path, index: &mut Index) -> bool {
        index.apply(self.object.clone(), file::origin(path, self.line))
    }
}

fn is_at(origin: &Origin, path: &Path, line: usize) -> bool {
    matches!(origin, Origin::File { path: at, line: on } if at == path && *on == line)
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::InvalidData => "is not UTF-8 text".to_owned(),
        io::ErrorKind::FileTooLarge => "is too large for a manifest (64 MiB)".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

fn duplicate(path: &Path, placed: &Placed, first: &Path, winner: &Placed) -> Problem {
    let message = format!("is already defined at {}, which counts", file::origin(first, winner.line));
    let problem = Problem::error(&placed.name, "", message).because(Cause::Conflict);
    Problem { origin: Some(file::origin(path, placed.line)), ..problem }
}
