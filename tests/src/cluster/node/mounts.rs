//! The node's own view of the file system: kernel file systems of its namespaces, and empty places to write to.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::lab::LABS;
use crate::lab::cgroup::{self, Hierarchy};

/// The kubelet insists on these values of settings that the whole machine has: it is shown them, nothing is changed.
const SHOWN: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// What a node has empty at its start.
const EMPTY: [&str; 3] = ["/run", "/var/lib", "/var/log"];

/// Mounts everything, in the mount namespace of the calling process.
pub(super) fn make() -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let_go_of_labs()?;
    fresh("proc", "/proc")?;
    fresh("sysfs", "/sys")?;
    fresh("bpf", "/sys/fs/bpf")?;
    cgroups(&cgroup::hierarchies()?)?;
    for place in EMPTY {
        tmpfs(place)?;
    }
    // As systemd has it: pods may ask that mounts reach them.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none)?;
    show_settings()
}

/// A mount that stays in this namespace would hold other labs' namespaces as long as the node runs.
fn let_go_of_labs() -> Result<()> {
    for lab in fs::read_dir(LABS)? {
        // Not mounted yet, or gone meanwhile.
        let _ = umount2(&lab?.path().join("mnt"), MntFlags::MNT_DETACH);
    }
    Ok(())
}

fn fresh(kind: &str, place: &str) -> Result<()> {
    mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mounting {kind} on {place}"))
}

fn tmpfs(place: &str) -> Result<()> {
    mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
        .with_context(|| format!("mounting a tmpfs on {place}"))
}

/// The hierarchies that this process is in, seen from its own group.
fn cgroups(hierarchies: &[Hierarchy]) -> Result<()> {
    if hierarchies.iter().all(|hierarchy| hierarchy.folder.is_empty()) {
        return unified_cgroups();
    }
    tmpfs("/sys/fs/cgroup")?;
    for Hierarchy { folder, controllers, .. } in hierarchies {
        let place = Path::new("/sys/fs/cgroup").join(folder);
        fs::create_dir_all(&place)?;
        let (kind, options) = match controllers.as_str() {
            "" => ("cgroup2", None),
            named if named.starts_with("name=") => ("cgroup", Some(format!("none,{named}"))),
            controllers => ("cgroup", Some(controllers.to_owned())),
        };
        mount(Some(kind), &place, Some(kind), MsFlags::empty(), options.as_deref())
            .with_context(|| format!("mounting {}", place.display()))?;
    }
    Ok(())
}

/// The node's group has groups with controllers, so its processes live one below.
fn unified_cgroups() -> Result<()> {
    fresh("cgroup2", "/sys/fs/cgroup")?;
    fs::create_dir_all("/sys/fs/cgroup/init")?;
    fs::write("/sys/fs/cgroup/init/cgroup.procs", "1")?;
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")?;
    for controller in controllers.split_whitespace() {
        fs::write("/sys/fs/cgroup/cgroup.subtree_control", format!("+{controller}"))
            .with_context(|| format!("the controller {controller}"))?;
    }
    Ok(())
}

fn show_settings() -> Result<()> {
    fs::create_dir_all("/run/settings")?;
    for (name, value) in SHOWN {
        let stand_in = format!("/run/settings/{}", name.replace('/', "."));
        fs::write(&stand_in, format!("{value}\n"))?;
        let place = format!("/proc/sys/{name}");
        mount(Some(stand_in.as_str()), place.as_str(), None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("showing {place}"))?;
    }
    Ok(())
}
