//! Which files the folder has, and by which stamp a change of one is noticed without reading it.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

/// Larger files are no manifests: an accident, or an attack on the agent's memory.
const MAX_BYTES: u64 = 64 << 20;

/// What changes when a file does: device, inode, size, and the times of its content and of its inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Which folder this is: another one may come to stand at the same path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// The folder that is now at this path.
///
/// # Errors
/// What the operating system says.
pub(super) fn identity(root: &Path) -> io::Result<Identity> {
    let metadata = fs::metadata(root)?;
    // Opened too: what cannot be listed is as good as not there.
    fs::read_dir(root)?;
    Ok(Identity { device: metadata.dev(), inode: metadata.ino() })
}

/// The manifests below the folder, by path relative to it. Names that start with a dot are passed over, links
/// through them are followed: in a ConfigMap volume every file is a link through `..data`.
/// What cannot be looked at stands in the second list, with the reason.
pub(super) fn scan(root: &Path) -> (BTreeMap<PathBuf, Stamp>, Vec<(PathBuf, String)>) {
    let mut files = BTreeMap::new();
    let mut failed = Vec::new();
    let walk = WalkDir::new(root).follow_links(true).min_depth(1).into_iter();
    for entry in walk.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry)) {
        let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_owned();
        match entry.and_then(|entry| Ok((entry.metadata()?, entry.into_path()))) {
            Ok((metadata, path)) if metadata.is_file() && is_manifest(&path) => {
                files.insert(relative(&path), Stamp::of(&metadata));
            }
            Ok(_) => {}
            // Gone between listing and looking: it will not be there next time either.
            Err(error) if is_gone(&error) => {}
            Err(error) => {
                let path = error.path().map(relative).unwrap_or_default();
                failed.push((
                    path,
                    error.io_error().map_or_else(
                        || "a link leads back to its own folder".to_owned(),
                        io::Error::to_string,
                    ),
                ));
            }
        }
    }
    (files, failed)
}

/// The text of a file, with the stamp that it had before and after it was read.
///
/// # Errors
/// `Interrupted` if it changed meanwhile, `InvalidData` for what is not UTF-8, `FileTooLarge`, or what the operating
/// system says.
pub(super) fn read(path: &Path) -> io::Result<(Stamp, String)> {
    let mut file = fs::File::open(path)?;
    let before = Stamp::of(&file.metadata()?);
    if before.size > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut text = String::new();
    Read::by_ref(&mut file).take(MAX_BYTES).read_to_string(&mut text)?;
    if Stamp::of(&file.metadata()?) != before {
        return Err(io::ErrorKind::Interrupted.into());
    }
    Ok((before, text))
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

fn is_gone(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}
