//! For tests elsewhere: a folder that a test writes, and looks at when it likes.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::folder::{Folder, Look, Refreshed};
use crate::source::Index;

/// A folder with numbered files, and the index that it leads to.
pub(crate) struct Scripted {
    temporary: TempDir,
    folder: Folder,
    index: Index,
    /// What the watch of a folder would tell: files may change twice within one tick of a file system's clock.
    touched: BTreeSet<PathBuf>,
}

impl Scripted {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let temporary = TempDir::new().expect("a temporary folder");
        let folder = Folder::new(temporary.path().to_owned());
        Self { temporary, folder, index: Index::default(), touched: BTreeSet::new() }
    }

    /// Makes this the text of a file.
    pub(crate) fn write(&mut self, file: usize, text: &str) {
        let path = self.path(file);
        fs::write(&path, text).expect("writable");
        self.touched.insert(path);
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&mut self, file: usize) {
        let path = self.path(file);
        _ = fs::remove_file(&path);
        self.touched.insert(path);
    }

    /// Has the index follow.
    pub(crate) fn look(&mut self) {
        let (touched, held) = (std::mem::take(&mut self.touched), BTreeSet::new());
        let look = Look { touched, held, is_patient: false, is_disturbed: &mut |_| false };
        assert_eq!(self.folder.refresh(look), Refreshed::Current);
        let (_, problems) = self.folder.merge(&mut self.index);
        assert!(problems.is_empty(), "{problems:?}");
    }

    /// What it has led to.
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    fn path(&self, file: usize) -> PathBuf {
        self.temporary.path().join(format!("{file}.yaml"))
    }
}
