//! The manifests folder: Kubernetes YAML from files, watched. The same index and the same translation as with a
//! cluster, and nothing of either.

mod decode;
mod document;
mod file;
mod folder;
mod run;
mod scan;
#[cfg(test)]
mod scripted;
mod watch;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use self::folder::{Folder, Look, Refreshed};
pub use self::run::run;
#[cfg(test)]
pub(crate) use self::scripted::Scripted;
use super::publish::now;
use super::{Index, Settings, translate};
use crate::model::{Kind, Problem, Severity, Snapshot};

/// How often a folder is read in which files change meanwhile.
const LOOKS: u32 = 10;

/// Why a folder cannot be a source.
#[derive(Debug, Error)]
pub enum FolderError {
    /// It is not there, or is no folder.
    #[error("{}: cannot read the manifests folder", folder.display())]
    Unreadable {
        /// The folder.
        folder: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It cannot be watched.
    #[error("{}: cannot watch the manifests folder; if there are too many watches, raise fs.inotify.max_user_watches \
             and fs.inotify.max_user_instances", folder.display())]
    Unwatchable {
        /// The folder.
        folder: PathBuf,
        /// What the operating system says.
        source: notify::Error,
    },
}

/// The state that a folder asks for, read once.
///
/// # Errors
/// `FolderError::Unreadable` if there is no such folder.
pub fn read(folder: &Path, settings: &Settings) -> Result<Snapshot, FolderError> {
    let (index, problems) = load(folder)?;
    Ok(with_problems(translate(&index, settings, now()), problems))
}

/// The objects of a folder, and what is wrong with its files.
fn load(folder: &Path) -> Result<(Index, Vec<Problem>), FolderError> {
    scan::identity(folder).map_err(|source| FolderError::Unreadable { folder: folder.to_owned(), source })?;
    let (mut folder, mut index) = (Folder::new(folder.to_owned()), Index::default());
    for _ in 0..LOOKS {
        let (touched, held) = (BTreeSet::new(), BTreeSet::new());
        let look = Look { touched, held, is_patient: false, is_disturbed: &mut |_| false };
        if folder.refresh(look) == Refreshed::Current {
            break;
        }
    }
    let (_, problems) = folder.merge(&mut index);
    Ok((index, problems))
}

/// All that is wrong with a folder; a folder that cannot be read is one problem, and so is one without objects.
#[must_use]
pub fn check(folder: &Path, settings: &Settings) -> Vec<Problem> {
    match load(folder) {
        Ok((index, problems)) => {
            let is_empty = Kind::ALL.into_iter().all(|kind| index.count(kind) == 0);
            let empty = (is_empty && problems.is_empty()).then(empty);
            let snapshot = with_problems(translate(&index, settings, now()), problems);
            snapshot.problems.iter().map(Problem::clone).chain(empty).collect()
        }
        Err(error) => {
            let reason =
                std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            vec![Problem { origin: None, ..file::unreadable(Path::new(""), 0, &format!("{error}{reason}")) }]
        }
    }
}

/// Not wrong by itself, but hardly what somebody wanted to have checked.
fn empty() -> Problem {
    let message = "no objects found: there is none in any file .yaml, .yml or .json of the folder";
    let problem = file::unreadable(Path::new(""), 0, message);
    Problem { severity: Severity::Warning, origin: None, ..problem }
}

/// The snapshot with what is wrong with the files themselves.
fn with_problems(mut snapshot: Snapshot, problems: Vec<Problem>) -> Snapshot {
    for problem in problems {
        snapshot.problems.insert(Arc::new(problem));
    }
    snapshot
}

/// For tests elsewhere: the objects of a text with their lines, and what is wrong with it.
#[cfg(any(test, fuzzing))]
pub(crate) fn parse_text(path: &Path, text: &str) -> (Vec<(super::Object, usize)>, Vec<Problem>) {
    let file = file::File::read(path, text, file::File::default());
    (file.objects.into_iter().map(|placed| (placed.object, placed.line)).collect(), file.problems)
}
