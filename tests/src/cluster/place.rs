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
        let _turn = turn()?;
        remove_stale()?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = places().join(format!("{}-{number}", process::id()));
        fs::create_dir_all(folder.join("log")).with_context(|| format!("making {}", folder.display()))?;
        let owner = lock(&folder).context("nobody else can have it yet")?;
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
        let removed = turn().and_then(|_turn| Ok(fs::remove_dir_all(&self.folder)?));
        if let Err(error) = removed {
            eprintln!("{} is not all gone: {error}", self.folder.display());
        }
    }
}

/// Where all of a user's are.
fn places() -> PathBuf {
    env::temp_dir().join(format!("edgelb-control-{}", getuid()))
}

/// Tests of one process and of several make and remove folders one after the other: none is seen half made.
fn turn() -> Result<Flock<File>> {
    let places = places();
    fs::create_dir_all(&places).with_context(|| format!("making {}", places.display()))?;
    Flock::lock(File::open(&places)?, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("locking {}", places.display()))
}

fn remove_stale() -> Result<()> {
    for entry in fs::read_dir(places())? {
        let folder = entry?.path();
        if let Some(_owner) = lock(&folder) {
            fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
    }
    Ok(())
}

/// The lock can be had when nobody alive holds it.
fn lock(folder: &Path) -> Option<Flock<File>> {
    let file = File::options().create(true).write(true).truncate(false).open(folder.join("owner")).ok()?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
}
