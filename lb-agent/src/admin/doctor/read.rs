//! Reads values from /proc and /sys, or says why not.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

use thiserror::Error as ThisError;

/// A value, or why there is none.
pub(super) type Fact<T> = Result<T, Unread>;

/// Why a value could not be read.
#[derive(Clone, PartialEq, Eq, Debug, ThisError)]
pub(super) enum Unread {
    /// There is no such thing, at least not in this namespace.
    #[error("not there, or not visible from this namespace")]
    Missing,
    /// More rights are needed.
    #[error("permission denied")]
    Denied,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl From<Error> for Unread {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::Missing,
            ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// A file's text, without white space around it.
pub(super) fn text(path: impl AsRef<Path>) -> Fact<String> {
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

/// A kernel setting by its path below `/proc/sys`.
pub(super) fn setting(path: &str) -> Fact<u64> {
    let text = text(Path::new("/proc/sys").join(path))?;
    text.parse().map_err(|_| Unread::Failed(format!("{path} is {text:?}, not a number")))
}
