//! `SHA256SUMS`, as `sha256sum --check` reads it.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Writes the checksums of these files of the folder, by name.
pub(super) fn write(folder: &Path, files: &[String]) -> Result<()> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort();
    let mut sums = String::new();
    for file in files {
        let bytes = fs::read(folder.join(file)).with_context(|| format!("cannot read {file}"))?;
        writeln!(sums, "{}  {file}", hex(&Sha256::digest(&bytes)))?;
    }
    Ok(fs::write(folder.join("SHA256SUMS"), sums)?)
}

/// As people and programs write a digest.
pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
