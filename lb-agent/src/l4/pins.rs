//! Where maps and links are pinned on the BPF filesystem, so that the kernel goes on without the agent.
//!
//! ```text
//! <root>/v<layout>/<map>       maps, by version of their layout; those of one agent are for its own programs only
//! <root>/links/xdp-<interface> XDP links
//! <root>/links/sk_lookup       the socket lookup's link; `sk_lookup_next` for a moment while it is replaced
//! ```

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lb_common::map::{LAYOUT, program};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{FsType, statfs};

use super::L4Error;

/// Where pins go unless told otherwise.
pub const DEFAULT_ROOT: &str = "/sys/fs/bpf/edgelb";

/// linux/magic.h
const BPF_FS_MAGIC: FsType = FsType(0xcafe_4a11);

/// The pins of one agent.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
    layout: u32,
}

/// The pins are this process's alone, until it is dropped or the process ends, however it does.
#[derive(Debug)]
pub struct PinLock {
    _folder: Flock<File>,
}

impl Pins {
    /// The pins below `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root, layout: LAYOUT }
    }

    /// The same by another layout, as another version has it: to try updates and rollbacks.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn of_another_layout(self) -> Self {
        Self { layout: LAYOUT + 1, ..self }
    }

    /// Whether maps are laid out as the object has them.
    #[must_use]
    pub(crate) fn are_of_our_layout(&self) -> bool {
        self.layout == LAYOUT
    }

    /// Makes the folders.
    ///
    /// # Errors
    /// `L4Error::NoBpfFilesystem`, or `L4Error::Pin` for a folder that cannot be made.
    pub fn prepare(&self) -> Result<(), L4Error> {
        if !is_on_bpf_filesystem(&self.root) {
            return Err(L4Error::NoBpfFilesystem { path: self.root.clone() });
        }
        for folder in [self.maps(), self.links()] {
            fs::create_dir_all(&folder).map_err(pin_error(&folder))?;
        }
        Ok(())
    }

    /// Takes the pins for this process: two agents would take connections from each other.
    ///
    /// # Errors
    /// `L4Error::PinsInUse`, or `L4Error::Pin` if the folder is not there.
    pub fn lock(&self) -> Result<PinLock, L4Error> {
        let folder = File::open(&self.root).map_err(pin_error(&self.root))?;
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(folder) => Ok(PinLock { _folder: folder }),
            Err((_, Errno::EWOULDBLOCK)) => Err(L4Error::PinsInUse { path: self.root.clone() }),
            Err((_, error)) => Err(pin_error(&self.root)(error.into())),
        }
    }

    /// Whether anything is pinned.
    ///
    /// # Errors
    /// `L4Error::Pin` if that cannot be told.
    pub fn exist(&self) -> Result<bool, L4Error> {
        self.root.try_exists().map_err(pin_error(&self.root))
    }

    /// The folder of the maps of this layout.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.root.join(format!("v{}", self.layout))
    }

    /// The pin of one map.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// The pins of one map in every layout that is there.
    #[must_use]
    pub(crate) fn map_of_each_layout(&self, name: &str) -> Vec<PathBuf> {
        let others = self.other_layouts().unwrap_or_default();
        let pins = others.into_iter().chain([self.maps()]).map(|maps| maps.join(name));
        pins.filter(|pin| pin.exists()).collect()
    }

    /// Where the program for frames that are given back is pinned for a moment.
    pub(super) fn given(&self) -> PathBuf {
        self.maps().join(program::GIVEN)
    }

    fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// The pin of an interface's link. The BPF filesystem refuses names with a dot, VLAN interfaces have one.
    #[must_use]
    pub fn xdp_link(&self, interface: &str) -> PathBuf {
        self.links().join(format!("xdp-{}", interface.replace('.', "%2e")))
    }

    /// The pin of the socket lookup's link.
    #[must_use]
    pub fn sk_lookup_link(&self) -> PathBuf {
        self.links().join("sk_lookup")
    }

    /// Where the next one is pinned, until it takes that one's place.
    pub(super) fn next_sk_lookup_link(&self) -> PathBuf {
        self.links().join("sk_lookup_next")
    }

    /// Pinned XDP links: interface and pin.
    ///
    /// # Errors
    /// `L4Error::Pin` if the folder is there but cannot be read.
    pub fn xdp_links(&self) -> Result<Vec<(String, PathBuf)>, L4Error> {
        let entries = match fs::read_dir(self.links()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(pin_error(&self.links())(error)),
        };
        let links = entries.filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?.strip_prefix("xdp-")?.replace("%2e", ".");
            Some((name, path))
        });
        Ok(links.collect())
    }

    /// Removes every pin; the kernel frees what nothing else holds. True if there was any.
    ///
    /// # Errors
    /// `L4Error::Pin` for the first that cannot be removed.
    pub fn remove_all(&self) -> Result<bool, L4Error> {
        if !self.exist()? {
            return Ok(false);
        }
        remove_tree(&self.root)?;
        Ok(true)
    }

    /// Removes the maps of other layouts, which no program of ours uses any more.
    ///
    /// # Errors
    /// As `remove_all`.
    pub fn remove_other_layouts(&self) -> Result<(), L4Error> {
        self.other_layouts()?.iter().try_for_each(|maps| remove_tree(maps))
    }

    /// The folders of the maps of other layouts.
    ///
    /// # Errors
    /// `L4Error::Pin` if they cannot be listed.
    pub(crate) fn other_layouts(&self) -> Result<Vec<PathBuf>, L4Error> {
        let entries = fs::read_dir(&self.root).map_err(pin_error(&self.root))?;
        let folders = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        Ok(folders.filter(|path| *path != self.maps() && *path != self.links()).collect())
    }
}

/// Removes a folder; one that is gone already is as good.
fn remove_tree(path: &Path) -> Result<(), L4Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(pin_error(path)(error)),
        _ => Ok(()),
    }
}

/// Removes a pin; one that is gone already is as good.
pub(super) fn remove_pin(path: &Path) -> Result<(), L4Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(pin_error(path)(error)),
        _ => Ok(()),
    }
}

fn is_on_bpf_filesystem(path: &Path) -> bool {
    let existing = path.ancestors().find(|ancestor| ancestor.exists());
    existing.and_then(|path| statfs(path).ok()).is_some_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

pub(crate) fn pin_error(path: &Path) -> impl FnOnce(std::io::Error) -> L4Error {
    let path = path.to_owned();
    move |source| L4Error::Pin { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_refused_elsewhere_than_on_a_bpf_filesystem() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = Pins::new(folder.path().join("edgelb")).prepare().expect_err("not a BPF filesystem");
        assert!(error.to_string().contains("mount -t bpf"), "{error}");
    }

    #[test]
    fn pins_belong_to_one_agent_at_a_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pins = Pins::new(folder.path().to_owned());
        let first = pins.lock().expect("nobody holds them");
        assert!(matches!(pins.lock(), Err(L4Error::PinsInUse { .. })));
        drop(first);
        pins.lock().expect("nobody holds them any more");
    }

    #[test]
    fn maps_of_other_layouts_are_found_and_removed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ours = Pins::new(folder.path().to_owned());
        let others = ours.clone().of_another_layout();
        for pins in [&ours, &others] {
            fs::create_dir_all(pins.maps()).expect("a folder");
            fs::write(pins.map("BEAT"), "").expect("a file");
        }
        fs::create_dir_all(ours.links()).expect("a folder");
        assert_eq!(ours.other_layouts().expect("a list"), [others.maps()]);
        assert_eq!(others.map_of_each_layout("BEAT"), [ours.map("BEAT"), others.map("BEAT")]);
        others.remove_other_layouts().expect("it can be removed");
        assert_eq!(others.map_of_each_layout("BEAT"), [others.map("BEAT")]);
        assert!(others.other_layouts().expect("a list").is_empty() && ours.links().exists());
    }

    #[test]
    fn pins_of_vlan_interfaces_have_no_dot() {
        let pin = Pins::new(PathBuf::from(DEFAULT_ROOT)).xdp_link("eth0.100");
        assert_eq!(pin, Path::new("/sys/fs/bpf/edgelb/links/xdp-eth0%2e100"));
    }
}
