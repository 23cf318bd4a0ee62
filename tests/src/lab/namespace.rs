//! A network namespace, held by a bind mount of the lab, and work that is done inside it.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace of a lab. Clones stand for the same one.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: Arc<str>,
    file: Arc<File>,
}

impl Namespace {
    /// A new namespace with only its loopback interface, held by a mount on `path` until that is unmounted.
    pub(crate) fn create(name: &str, path: &Path) -> Result<Self> {
        File::create(path)?;
        in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("a new network namespace")?;
            let own = Path::new("/proc/thread-self/ns/net");
            mount(Some(own), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .context("holding it by a mount")
        })?;
        Self::open(name, path)
    }

    /// A new namespace with only its loopback interface, gone with the last clone of this.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN.
    pub fn passing(name: &str) -> Result<Self> {
        let file = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("a new network namespace")?;
            anyhow::Ok(File::open("/proc/thread-self/ns/net")?)
        })?;
        Ok(Self { name: name.into(), file: Arc::new(file) })
    }

    /// The namespace that a mount on `path` holds.
    pub(crate) fn open(name: &str, path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("{}", path.display()))?;
        Ok(Self { name: name.into(), file: Arc::new(file) })
    }

    /// Its name in the lab: `client`, `router`, `edge-1`, `web-1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does `work` in a thread that is inside the namespace. Sockets made there belong to it for good,
    /// wherever they are used afterwards. A panic inside goes on outside.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        in_thread(|| {
            self.enter().unwrap_or_else(|error| panic!("cannot enter namespace {}: {error}", self.name));
            work()
        })
    }

    /// A TCP connection made from inside.
    ///
    /// # Errors
    /// Those of `TcpStream::connect_timeout`.
    pub fn connect(&self, to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
        self.run(|| TcpStream::connect_timeout(&to, patience))
    }

    /// Writes `/proc/sys/net/<key>` of the namespace, `key` with slashes.
    ///
    /// # Errors
    /// Names the key that the kernel does not have or refuses.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{key}");
        self.run(|| fs::write(&path, value)).with_context(|| format!("{path} = {value} in {}", self.name))
    }

    /// Moves the calling thread inside: only for threads that end soon.
    pub(crate) fn enter(&self) -> nix::Result<()> {
        setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)
    }

    /// The kernel's number for it.
    pub(crate) fn inode(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.ino())
    }

    /// For netlink requests that name it.
    pub(crate) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Does `work` in a thread of its own, whose namespaces nobody else shares.
pub(crate) fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
}
