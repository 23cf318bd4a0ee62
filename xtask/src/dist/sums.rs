//! `SHA256SUMS`, as `sha256sum --check` reads it.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};

use crate::sha256;

/// Writes the checksums of these files of the folder, by name.
pub(super) fn write(folder: &Path, files: &[String]) -> Result<()> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort();
    let mut sums = String::new();
    for file in files {
        let bytes = fs::read(folder.join(file)).with_context(|| format!("cannot read {file}"))?;
        writeln!(sums, "{}  {file}", sha256::of(&bytes))?;
    }
    Ok(fs::write(folder.join("SHA256SUMS"), sums)?)
}
