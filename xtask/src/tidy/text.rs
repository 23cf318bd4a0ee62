//! The repository's texts, and what a rule finds in them.

use std::{fmt, fs, path::Path};

use anyhow::{Context, Result};
use walkdir::{DirEntry, WalkDir};

/// A file that people write: its path from the workspace's root, with `/`, and what it says.
pub(super) struct Text {
    pub(super) path: String,
    pub(super) text: String,
}

impl Text {
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// A place where an invariant is broken.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    /// `line` counts from 1.
    pub(super) fn new(text: &Text, line: usize, what: impl Into<String>) -> Self {
        Self { path: text.path.clone(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Every text file of the workspace that is not built or fetched.
pub(super) fn repository(root: &Path) -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    for entry in WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(is_ours) {
        let entry = entry.context("cannot list the workspace")?;
        if !entry.file_type().is_file() {
            continue;
        }
        let bytes =
            fs::read(entry.path()).with_context(|| format!("cannot read {}", entry.path().display()))?;
        if let Ok(text) = String::from_utf8(bytes) {
            let path = entry.path().strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            texts.push(Text { path, text });
        }
    }
    Ok(texts)
}

fn is_ours(entry: &DirEntry) -> bool {
    entry.depth() == 0 || !matches!(entry.file_name().to_str(), Some(".git" | "target" | "Cargo.lock"))
}

/// What `rule` says about one file, as `line: what`.
#[cfg(test)]
pub(super) fn findings(rule: super::Rule, files: &[(&str, &str)]) -> Vec<String> {
    let text = |(path, text): &(&str, &str)| Text { path: (*path).into(), text: (*text).into() };
    let texts: Vec<_> = files.iter().map(text).collect();
    rule(&texts).iter().map(ToString::to_string).collect()
}
