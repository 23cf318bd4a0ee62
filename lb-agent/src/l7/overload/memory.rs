//! How much of the memory that this process may have is in use, as the kernel counts it (cgroup v2). What it would give
//! back by itself, the page cache, does not count.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// The control group whose limit is the nearest one.
pub(super) struct Memory {
    folder: PathBuf,
    limit: u64,
}

impl Memory {
    /// This process's; `None` if nothing limits its memory but the machine's size.
    pub(super) fn find() -> Option<Self> {
        let groups = read_to_string("/proc/self/cgroup").ok()?;
        Self::within(Path::new(ROOT), own_group(&groups)?)
    }

    fn within(root: &Path, group: &str) -> Option<Self> {
        let own = root.join(group);
        let all = own.ancestors().take_while(|folder| folder.starts_with(root));
        let limits = all.filter_map(|folder| {
            let limit = number(&read_to_string(folder.join("memory.max")).ok()?)?;
            Some(Self { folder: folder.to_owned(), limit })
        });
        limits.min_by_key(|memory| memory.limit)
    }

    /// What is in use, in percent; 0 if the kernel does not say.
    pub(super) fn percent(&self) -> u32 {
        let read = |name| read_to_string(self.folder.join(name)).ok();
        let Some(all) = read("memory.current").as_deref().and_then(number) else { return 0 };
        let cache = read("memory.stat").as_deref().and_then(page_cache).unwrap_or_default();
        u32::try_from(all.saturating_sub(cache).saturating_mul(100) / self.limit.max(1)).unwrap_or(u32::MAX)
    }
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

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};

    use super::*;

    #[test]
    fn the_tightest_limit_above_counts_and_the_page_cache_does_not() {
        let root = tempfile::tempdir().expect("a folder");
        let pod = root.path().join("kubepods/pod");
        create_dir_all(pod.join("container")).expect("folders");
        let put = |folder: &Path, name: &str, text: &str| write(folder.join(name), text).expect("a file");
        put(&pod.join("container"), "memory.max", "max\n");
        put(&pod, "memory.max", "1000\n");
        put(&root.path().join("kubepods"), "memory.max", "5000\n");
        put(&pod, "memory.current", "950\n");
        put(&pod, "memory.stat", "anon 700\nfile 200\nfile_mapped 3\n");
        let memory = Memory::within(root.path(), "kubepods/pod/container").expect("there is a limit");
        assert_eq!(memory.percent(), 75);
        assert!(Memory::within(root.path(), "other").is_none());
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
