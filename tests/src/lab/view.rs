//! What a process of the lab sees of the file system: `/sys` of its own network namespace, an empty `/dev/shm` and, on a
//! node, that node's bpffs and `/run/edgelb`. Mounted in a mount namespace of its own: nothing of it needs cleaning.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::claim::LABS;

/// The node's part of a view.
#[derive(Clone, Debug)]
pub(crate) struct NodeView {
    /// A mounted bpffs.
    pub(crate) bpffs: PathBuf,
    /// The folder that stands for `/run/edgelb`.
    pub(crate) run: PathBuf,
}

impl NodeView {
    /// Where the lab in `folder` has those of the node `name`.
    pub(crate) fn of(folder: &Path, name: &str) -> Self {
        Self { bpffs: folder.join("mnt/bpf").join(name), run: folder.join("run").join(name) }
    }
}

/// A view of the file system.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The lab's folder, which stays visible under its own path.
    pub(crate) folder: PathBuf,
    /// On a node.
    pub(crate) node: Option<NodeView>,
}

impl View {
    /// Gives the calling thread this view for good. It must be in its network namespace already.
    pub(crate) fn enter(&self) -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNS).context("a new mount namespace")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        // As `ip netns exec` does: sysfs shows the network namespace that it was mounted from.
        umount2("/sys", MntFlags::MNT_DETACH).context("unmounting /sys")?;
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>)
            .context("mounting /sys")?;
        if let Some(node) = &self.node {
            bind(&node.bpffs, Path::new("/sys/fs/bpf"))?;
        }
        mount(Some("shm"), "/dev/shm", Some("tmpfs"), MsFlags::empty(), Some("mode=1777"))
            .context("mounting /dev/shm")?;
        self.cover_run()
    }

    /// An empty `/run`, but for this lab's folder without its mounts, and the node's `/run/edgelb`.
    /// A mount that stays in this namespace would hold other labs' namespaces as long as the process runs.
    fn cover_run(&self) -> Result<()> {
        for lab in fs::read_dir(LABS)? {
            // Not mounted yet, or gone meanwhile.
            let _ = umount2(&lab?.path().join("mnt"), MntFlags::MNT_DETACH);
        }
        let folder = File::open(&self.folder)?;
        let run = self.node.as_ref().map(|node| File::open(&node.run)).transpose()?;
        mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
            .context("mounting /run")?;
        bind_file(&folder, &self.folder)?;
        run.map_or(Ok(()), |run| bind_file(&run, Path::new("/run/edgelb")))
    }
}

/// Shows an open folder at `to`, which is made.
fn bind_file(folder: &File, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    bind(Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd())), to)
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("showing {} at {}", from.display(), to.display()))
}
