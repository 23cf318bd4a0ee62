//! Control groups of a lab's nodes, below the one that this process is in. A list of them in the lab's folder says
//! what is to be removed, also when nobody is left who made them.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use anyhow::{Context, Result};

use super::wait::eventually;

const ROOT: &str = "/sys/fs/cgroup";

/// In the lab's folder.
const LIST: &str = "cgroups";

/// How long processes that were killed may hold their groups.
const END: Duration = Duration::from_secs(20);

/// Moves the calling process into groups with this name: one in each hierarchy of version 1, and in the unified one.
pub(crate) fn join(lab: &Path, name: &str) -> Result<()> {
    let mut list = File::options().create(true).append(true).open(lab.join(LIST))?;
    for hierarchy in hierarchies()? {
        let place = hierarchy.place(name);
        // The name first: what is made must be found.
        writeln!(list, "{}", place.display())?;
        fs::create_dir_all(&place).with_context(|| format!("making {}", place.display()))?;
        if hierarchy.controllers == "cpuset" {
            inherit_cpuset(&place)?;
        }
        fs::write(place.join("cgroup.procs"), process::id().to_string())
            .with_context(|| format!("joining {}", place.display()))?;
    }
    Ok(())
}

/// A hierarchy of control groups, and where in it the calling process is.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    /// The folder's name below `/sys/fs/cgroup`; empty where there is the unified hierarchy alone.
    pub(crate) folder: String,
    /// As the kernel says it: `cpu,cpuacct`, `name=systemd`, or nothing for the unified one.
    pub(crate) controllers: String,
    path: String,
}

/// Those that the machine has.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    Ok(parse(&fs::read_to_string("/proc/self/cgroup")?))
}

/// `4:memory:/a`, `1:name=systemd:/`, `0::/`
fn parse(text: &str) -> Vec<Hierarchy> {
    let is_alone = text.lines().count() == 1;
    let line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let folder = match controllers {
            "" if is_alone => "",
            "" => "unified",
            named => named.trim_start_matches("name="),
        };
        Some(Hierarchy { folder: folder.into(), controllers: controllers.into(), path: path.into() })
    };
    text.lines().filter_map(line).collect()
}

impl Hierarchy {
    /// In a unified hierarchy a group has either processes or groups with controllers: ours is below the root.
    fn place(&self, name: &str) -> PathBuf {
        let above = if self.folder.is_empty() { "" } else { self.path.trim_matches('/') };
        Path::new(ROOT).join(&self.folder).join(above).join(name)
    }
}

/// A new group of this controller takes no process before it is told where.
fn inherit_cpuset(place: &Path) -> Result<()> {
    let above = place.parent().context("a group is below another")?;
    for file in ["cpuset.cpus", "cpuset.mems"] {
        fs::write(place.join(file), fs::read(above.join(file))?)?;
    }
    Ok(())
}

/// Removes all groups of the lab in `folder`, whose processes must be at their end.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    let list = match fs::read_to_string(folder.join(LIST)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        list => list?,
    };
    list.lines().map(Path::new).filter(|place| place.starts_with(ROOT)).try_for_each(remove_tree)
}

fn remove_tree(place: &Path) -> Result<()> {
    eventually("the end of a control group", END, || {
        remove_once(place).with_context(|| format!("removing {}", place.display()))
    })
}

fn remove_once(place: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(place) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_once(&entry.path())?;
        }
    }
    fs::remove_dir(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_understood() {
        let places = |text: &str| -> Vec<String> {
            parse(text).iter().map(|it| it.place("n").display().to_string()).collect()
        };
        let version_1 = "4:cpu,cpuacct:/a\n1:name=systemd:/\n0::/a\n";
        assert_eq!(
            places(version_1),
            ["/sys/fs/cgroup/cpu,cpuacct/a/n", "/sys/fs/cgroup/systemd/n", "/sys/fs/cgroup/unified/a/n"]
        );
        assert_eq!(places("0::/user.slice\n"), ["/sys/fs/cgroup/n"]);
    }
}
