//! What the lab needs of this machine: everything that is missing in one go, each with what would help.

use std::fs;

use anyhow::{Result, ensure};

use crate::{
    programs::{self, CURL},
    rights,
};

/// The oldest kernel with everything that the agent uses.
const OLDEST_KERNEL: (u32, u32) = (6, 1);

/// Installs what can be installed, and fails with a list of what else is missing.
pub(crate) fn lab(task: &str) -> Result<()> {
    let missing: Vec<_> =
        [rights(task), kernel(), bpf(), namespaces(), curl()].into_iter().flatten().collect();
    for line in &missing {
        eprintln!("missing: {line}");
    }
    ensure!(
        missing.is_empty(),
        "the lab cannot run here; `cargo xtask test lint unit proxy` and `lb-agent run --no-xdp` still can"
    );
    Ok(())
}

fn rights(task: &str) -> Option<String> {
    let missing = rights::missing().join(", ");
    (!missing.is_empty())
        .then(|| format!("{missing}; this would help: sudo -E env PATH=\"$PATH\" cargo xtask {task}"))
}

fn kernel() -> Option<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (major, minor) = OLDEST_KERNEL;
    let new_enough = kernel_version(&release).is_some_and(|version| version >= OLDEST_KERNEL);
    (!new_enough).then(|| {
        format!("Linux {major}.{minor} or newer (this is {:?}): boot a newer kernel", release.trim())
    })
}

fn bpf() -> Option<String> {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has_bpf = known.lines().any(|line| line.split_whitespace().last() == Some("bpf"));
    (!has_bpf).then(|| "the BPF file system: boot a kernel with CONFIG_BPF_SYSCALL=y".to_owned())
}

fn namespaces() -> Option<String> {
    let has = fs::exists("/proc/self/ns/net").unwrap_or(false);
    (!has).then(|| "network namespaces: boot a kernel with CONFIG_NET_NS=y".to_owned())
}

fn curl() -> Option<String> {
    programs::ensure(&[CURL]).err().map(|error| format!("{error:#}"))
}

/// `6.1.0-18-amd64` -> `(6, 1)`.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::kernel_version;

    #[test]
    fn kernel_versions_are_read_from_what_distributions_call_them() {
        assert_eq!(kernel_version("6.1.0-18-amd64\n"), Some((6, 1)));
        assert_eq!(kernel_version("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(kernel_version("6.9-rc1"), Some((6, 9)));
        assert_eq!(kernel_version(""), None);
    }
}
