//! A folder for one control plane: data, certificates, logs. Gone with its owner; one whose owner was killed is
//! removed at the next start.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::{env, process};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::getuid;

static COUNT: AtomicU16 = AtomicU16::new(0);

/// The folder of a control plane, owned by this process.
#[derive(Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    number: u16,
    _owner: Flock<File>,
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        remove_stale()?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", process::id());
        // Nobody looks at a folder before its owner's lock is held: it gets its name last.
        let unnamed = places().join(format!(".{name}"));
        fs::create_dir_all(unnamed.join("log")).with_context(|| format!("making {}", unnamed.display()))?;
        let owner = lock(&unnamed).context("nobody else can have it yet")?;
        let folder = places().join(name);
        fs::rename(&unnamed, &folder)?;
        Ok(Self { folder, number, _owner: owner })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its number among those of this process.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.folder) {
            eprintln!("{} is not all gone: {error}", self.folder.display());
        }
    }
}

/// Where all of a user's are.
pub(crate) fn places() -> PathBuf {
    env::temp_dir().join(format!("edgelb-control-{}", getuid()))
}

fn remove_stale() -> Result<()> {
    let Ok(entries) = fs::read_dir(places()) else { return Ok(()) };
    for entry in entries {
        let folder = entry?.path();
        if let Some(_owner) = lock(&folder) {
            remove(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
    }
    Ok(())
}

/// The lock can be had when nobody alive holds it.
fn lock(folder: &Path) -> Option<Flock<File>> {
    let file = File::options().create(true).write(true).truncate(false).open(folder.join("owner")).ok()?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
}

fn remove(folder: &Path) -> std::io::Result<()> {
    fs::remove_dir_all(folder)?;
    // Only the last one's removal succeeds.
    let _ = fs::remove_dir(places());
    Ok(())
}
