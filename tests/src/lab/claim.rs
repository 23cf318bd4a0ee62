//! A lab's place on the machine: one folder under `/run/edgelb-lab` that holds everything that outlives a
//! process. Removing it removes the lab; a folder whose owner is dead is removed at the next start.
//!
//! ```text
//! /run/edgelb-lab/<pid>-<n>/
//!   owner        locked (flock) while the owner lives, however it ends
//!   kept         there: the lab stays up without an owner
//!   mnt/         tmpfs; unmounting it lets go of all that is mounted below
//!     net/<name>   network namespaces
//!     bpf/<name>   bpffs of the nodes
//!   run/<name>/  `/run/edgelb` of the nodes
//!   manifests/  log/  tls/
//!   cgroups      control groups that are to be removed with it
//! ```

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::cgroup;
use super::namespace::Namespace;
use super::process::{exists, kill_all_in};
use super::view::NodeView;

/// Where the folders of all labs are.
pub const LABS: &str = "/run/edgelb-lab";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The folder of a lab, owned by this process.
#[derive(Debug)]
pub(crate) struct Claim {
    folder: PathBuf,
    owner: Option<Flock<File>>,
}

impl Claim {
    /// A new folder with its mounts.
    pub(crate) fn new() -> Result<Self> {
        let id = format!("{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(LABS).join(id);
        // Nobody looks at a folder before its owner's lock is held: it gets its name last.
        let unnamed = Path::new(LABS).join(format!(".{}", name_of(&folder)));
        for part in ["mnt", "run", "manifests", "log", "tls"] {
            fs::create_dir_all(unnamed.join(part))?;
        }
        let owner =
            lock(File::create(unnamed.join("owner"))?)?.context("a lab with this name has an owner")?;
        fs::rename(&unnamed, &folder)?;
        let claim = Self { folder, owner: Some(owner) };
        claim.mount_all()?;
        Ok(claim)
    }

    fn mount_all(&self) -> Result<()> {
        let place = self.folder.join("mnt");
        mount(Some("edgelb-lab"), &place, Some("tmpfs"), MsFlags::empty(), Some("mode=0700"))
            .context("mounting a tmpfs (the lab needs root)")?;
        mount(None::<&str>, &place, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)?;
        for part in ["net", "bpf"] {
            fs::create_dir(place.join(part))?;
        }
        Ok(())
    }

    /// The folder.
    #[must_use]
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the namespace `name` is held.
    pub(crate) fn namespace_path(&self, name: &str) -> PathBuf {
        namespace_path(&self.folder, name)
    }

    /// A bpffs for the node `name`, and its `/run/edgelb`.
    pub(crate) fn add_node(&self, name: &str) -> Result<NodeView> {
        let view = NodeView::of(&self.folder, name);
        fs::create_dir(&view.bpffs)?;
        mount(Some("bpf"), &view.bpffs, Some("bpf"), MsFlags::empty(), None::<&str>)
            .context("mounting a bpffs")?;
        fs::create_dir(&view.run)?;
        Ok(view)
    }

    /// Removes one namespace with everything in it.
    pub(crate) fn release(&self, namespace: Namespace) -> Result<()> {
        let path = self.namespace_path(namespace.name());
        kill_all_in(&[namespace])?;
        umount2(&path, MntFlags::MNT_DETACH).with_context(|| format!("unmounting {}", path.display()))?;
        Ok(fs::remove_file(path)?)
    }

    /// Lets the lab stay up after this process, until `remove`.
    pub(crate) fn keep(mut self) -> Result<PathBuf> {
        File::create(self.folder.join("kept"))?;
        self.owner = None;
        Ok(std::mem::take(&mut self.folder))
    }
}

/// Where the lab in `folder` holds the namespace `name`.
pub(crate) fn namespace_path(folder: &Path, name: &str) -> PathBuf {
    folder.join("mnt/net").join(name)
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.owner.is_none() {
            return;
        }
        if let Err(error) = remove(&self.folder) {
            eprintln!("the lab {} is not all gone: {error:#}", self.folder.display());
        }
    }
}

/// Removes labs whose owner is gone, except for kept ones.
pub(crate) fn remove_stale() -> Result<()> {
    for folder in folders()?.into_iter().filter(|folder| !is_kept(folder)) {
        match File::open(folder.join("owner")) {
            // A lock that can be had is one that nobody alive holds.
            Ok(file) => {
                if let Some(_owner) = lock(file)? {
                    remove(&folder)?;
                }
            }
            // Its owner died while it made or removed the folder.
            Err(_) if !exists(pid_of(&folder)) => remove(&folder)?,
            Err(_) => {}
        }
    }
    Ok(())
}

/// The folders of kept labs, the oldest first.
///
/// # Errors
/// If the folder of all labs cannot be read.
pub fn kept() -> Result<Vec<PathBuf>> {
    let mut kept: Vec<_> = folders()?.into_iter().filter(|folder| is_kept(folder)).collect();
    kept.sort_by_key(|folder| folder.metadata().and_then(|folder| folder.modified()).ok());
    Ok(kept)
}

/// Removes all labs that this process made, whatever its threads are doing with them.
///
/// # Errors
/// As `remove`.
pub fn remove_own() -> Result<()> {
    folders()?.iter().filter(|folder| pid_of(folder) == process::id()).try_for_each(|folder| remove(folder))
}

/// Removes a lab: its processes, its mounts and with them its namespaces and links, its files.
///
/// # Errors
/// If a process cannot be ended or a file not removed.
pub fn remove(folder: &Path) -> Result<()> {
    let mounts = folder.join("mnt");
    let namespaces = held_namespaces(&mounts.join("net"))?;
    kill_all_in(&namespaces)?;
    drop(namespaces);
    match umount2(&mounts, MntFlags::MNT_DETACH) {
        // Not mounted yet, or not there any more.
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(error) => return Err(error).with_context(|| format!("unmounting {}", mounts.display())),
    }
    cgroup::remove(folder)?;
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // Only the last lab's removal succeeds.
    let _ = fs::remove_dir(LABS);
    Ok(())
}

fn held_namespaces(folder: &Path) -> Result<Vec<Namespace>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    entries
        .map(|entry| {
            let entry = entry?;
            Namespace::open(&entry.file_name().to_string_lossy(), &entry.path())
        })
        .collect()
}

fn folders() -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(LABS) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn is_kept(folder: &Path) -> bool {
    folder.join("kept").exists()
}

/// The process that made the folder; 0, which never ends, if the name is none of ours.
fn pid_of(folder: &Path) -> u32 {
    let name = name_of(folder);
    name.trim_start_matches('.').split('-').next().and_then(|pid| pid.parse().ok()).unwrap_or(0)
}

fn lock(file: File) -> Result<Option<Flock<File>>> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
