//! How much of the memory that this process may have is in use, as the kernel counts it: of its control group's limit
//! (cgroup v2), where what the kernel would give back by itself, the page cache, does not count; and of the machine's, of
//! which it has what it holds and what is still available. That others use much of it is no reason to refuse anything as
//! long as there is as much again.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// Where it is looked up.
pub(super) struct Memory {
    group: Option<Group>,
    proc: PathBuf,
}

/// The control group whose limit is the nearest one.
struct Group {
    folder: PathBuf,
    limit: u64,
}

impl Memory {
    /// This process's, in the kernel's files below this folder.
    pub(super) fn find(root: &Path) -> Self {
        let proc = root.join("proc");
        let groups = read_to_string(proc.join("self/cgroup")).unwrap_or_default();
        let group = own_group(&groups).and_then(|own| Group::within(&root.join("sys/fs/cgroup"), own));
        Self { group, proc }
    }

    /// What is in use, in percent, of that of which less is left; 0 if the kernel does not say.
    pub(super) fn percent(&self) -> u32 {
        let of_group = self.group.as_ref().and_then(Group::percent);
        of_group.max(self.of_machine()).unwrap_or_default()
    }

    fn of_machine(&self) -> Option<u32> {
        let line = |file: &str, name| kib(&read_to_string(self.proc.join(file)).ok()?, name);
        let own = line("self/status", "RssAnon:")?;
        Some(part(own, own.saturating_add(line("meminfo", "MemAvailable:")?)))
    }
}

impl Group {
    fn within(root: &Path, group: &str) -> Option<Self> {
        let own = root.join(group);
        let all = own.ancestors().take_while(|folder| folder.starts_with(root));
        let limits = all.filter_map(|folder| {
            let limit = number(&read_to_string(folder.join("memory.max")).ok()?)?;
            Some(Self { folder: folder.to_owned(), limit })
        });
        limits.min_by_key(|memory| memory.limit)
    }

    fn percent(&self) -> Option<u32> {
        let read = |name| read_to_string(self.folder.join(name)).ok();
        let all = read("memory.current").as_deref().and_then(number)?;
        let cache = read("memory.stat").as_deref().and_then(page_cache).unwrap_or_default();
        Some(part(all.saturating_sub(cache), self.limit))
    }
}

/// In percent.
fn part(used: u64, of: u64) -> u32 {
    u32::try_from(used.saturating_mul(100) / of.max(1)).unwrap_or(u32::MAX)
}

/// In the list of a process's groups, that of version 2, relative to the root.
fn own_group(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// `max` is none.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn page_cache(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| number(line.strip_prefix("file ")?))
}

fn kib(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| number(line.strip_prefix(name)?.strip_suffix("kB")?))
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};

    use super::*;

    fn put(folder: &Path, name: &str, text: &str) {
        create_dir_all(folder).expect("a folder");
        write(folder.join(name), text).expect("a file");
    }

    #[test]
    fn the_tightest_limit_above_counts_and_the_page_cache_does_not() {
        let root = tempfile::tempdir().expect("a folder");
        let pod = root.path().join("kubepods/pod");
        put(&pod.join("container"), "memory.max", "max\n");
        put(&pod, "memory.max", "1000\n");
        put(&root.path().join("kubepods"), "memory.max", "5000\n");
        put(&pod, "memory.current", "950\n");
        put(&pod, "memory.stat", "anon 700\nfile 200\nfile_mapped 3\n");
        let memory = Group::within(root.path(), "kubepods/pod/container").expect("there is a limit");
        assert_eq!(memory.percent(), Some(75));
        assert!(Group::within(root.path(), "other").is_none());
    }

    #[test]
    fn without_a_limit_it_is_the_machine_that_runs_out() {
        let root = tempfile::tempdir().expect("a folder");
        let (proc, own) = (root.path().join("proc"), root.path().join("proc/self"));
        let group = root.path().join("sys/fs/cgroup/edgelb");
        assert_eq!(Memory::find(root.path()).percent(), 0, "nothing is known");
        put(&own, "status", "Name:\tlb-agent\nVmRSS:\t  900 kB\nRssAnon:\t     300 kB\n");
        for (available, percent) in [(700, 30), (100, 75), (0, 100)] {
            put(&proc, "meminfo", &format!("MemTotal:  99999 kB\nMemAvailable:   {available} kB\n"));
            assert_eq!(Memory::find(root.path()).percent(), percent);
        }
        put(&own, "cgroup", "0::/edgelb\n");
        put(&group, "memory.max", "1000\n");
        put(&group, "memory.current", "800\n");
        assert_eq!(Memory::find(root.path()).percent(), 100, "the group has room, the machine none");
        put(&proc, "meminfo", "MemAvailable: 9700 kB\n");
        assert_eq!(Memory::find(root.path()).percent(), 80, "the machine has room");
    }

    /// That of this machine says something.
    #[test]
    fn the_kernel_says_how_much_there_is() {
        let memory = Memory::find(Path::new("/"));
        assert!(memory.of_machine().is_some_and(|percent| percent <= 100));
    }

    #[test]
    fn a_process_is_in_one_group_of_version_2() {
        assert_eq!(
            own_group("12:cpu:/x\n0::/system.slice/edgelb.service\n"),
            Some("system.slice/edgelb.service")
        );
        assert_eq!(own_group("0::/\n"), Some(""));
        assert_eq!(own_group("12:cpu:/x\n"), None);
    }
}
