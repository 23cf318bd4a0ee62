//! What this process may do: capabilities, the BPF filesystem, open files.

use std::path::Path;

use super::read::{Fact, Unread, text};
use super::report::{Finding, Judgement, fail, judge, ok, warn};

/// Each client connection takes a descriptor, and each one to an endpoint.
const FEW_FILES: u64 = 65_536;

/// What the agent needs, by the bits of linux/capability.h of which one is enough: CAP_SYS_ADMIN, bit 21,
/// stands for what was split from it.
const NEEDED: [(u64, &str); 3] =
    [(1 << 39 | 1 << 21, "CAP_BPF"), (1 << 12, "CAP_NET_ADMIN"), (1 << 38 | 1 << 21, "CAP_PERFMON")];

pub(super) fn look(bpffs: &Path) -> Vec<Finding> {
    vec![
        judge("capabilities", text("/proc/self/status").and_then(|status| effective(&status)), capabilities),
        judge("BPF filesystem", text("/proc/self/mountinfo"), |mounts| filesystem(&mounts, bpffs)),
        judge("open files", text("/proc/self/limits").and_then(|limits| files_of(&limits)), files),
    ]
}

/// The effective set in `/proc/self/status`.
fn effective(status: &str) -> Fact<u64> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .ok_or_else(|| Unread::Failed("/proc/self/status has no CapEff".to_owned()))
}

fn capabilities(effective: u64) -> Judgement {
    let lacking = NEEDED.iter().filter(|(bits, _)| effective & bits == 0).map(|(_, name)| *name);
    let lacking: Vec<_> = lacking.collect();
    if lacking.is_empty() {
        return ok("CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are there");
    }
    fail(
        format!("this process lacks {}", lacking.join(", ")),
        "run the agent as root, or add them (systemd: AmbientCapabilities=; \
         Kubernetes: securityContext.capabilities.add and runAsUser: 0)",
    )
}

/// Which filesystem a path is on, by the lines of `/proc/self/mountinfo`.
fn filesystem(mounts: &str, path: &Path) -> Judgement {
    // Of several on the same mount point the last one is seen.
    let on = mounts.lines().filter_map(mount).filter(|(point, _)| path.starts_with(point));
    match on.max_by_key(|(point, _)| point.components().count()) {
        Some((point, "bpf")) => {
            ok(format!("{} is on the one mounted at {}", path.display(), point.display()))
        }
        _ => fail(
            format!("{} is not on a BPF filesystem", path.display()),
            "mount -t bpf bpf /sys/fs/bpf (in a pod: a hostPath volume of the node's /sys/fs/bpf), \
             or name another place with --bpffs",
        ),
    }
}

/// Mount point and type of one line: proc_pid_mountinfo(5).
fn mount(line: &str) -> Option<(&Path, &str)> {
    let (place, device) = line.split_once(" - ")?;
    Some((Path::new(place.split(' ').nth(4)?), device.split(' ').next()?))
}

/// The soft limit in `/proc/self/limits`.
fn files_of(limits: &str) -> Fact<u64> {
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    match limit.and_then(|limits| limits.split_whitespace().next()) {
        Some("unlimited") => Ok(u64::MAX),
        Some(number) => number.parse().map_err(|_| Unread::Failed(format!("the limit is {number:?}"))),
        None => Err(Unread::Failed("/proc/self/limits does not tell".to_owned())),
    }
}

fn files(limit: u64) -> Judgement {
    if limit == u64::MAX {
        return ok("no limit");
    }
    if limit >= FEW_FILES {
        return ok(format!("{limit} for this process"));
    }
    warn(
        format!("{limit} for this process: about {} proxied connections", limit / 2),
        format!("start the agent with more (systemd: LimitNOFILE=1048576; shell: ulimit -n {FEW_FILES})"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, tests::check};
    use super::*;

    #[test]
    fn capabilities_are_named_if_they_lack() {
        let set = |bits: &[u32]| bits.iter().fold(0, |set, bit| set | 1 << bit);
        for (bits, status, words) in [
            (set(&[12, 38, 39]), Status::Ok, "are there"),
            (set(&[12, 21]), Status::Ok, "are there"),
            (0x1ff_ffff_ffff, Status::Ok, "are there"),
            (0, Status::Fail, "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"),
            (set(&[21]), Status::Fail, "lacks CAP_NET_ADMIN ->"),
            (set(&[12, 39]), Status::Fail, "lacks CAP_PERFMON ->"),
        ] {
            check(&capabilities(bits), status, words);
        }
        assert_eq!(effective("CapPrm:\t0\nCapEff:\t000001fffeffffff\n"), Ok(0x1ff_feff_ffff));
        assert!(effective("Name: x").is_err());
    }

    const MOUNTS: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
24 23 0:30 / /sys/fs/bpf rw,nosuid shared:9 - bpf bpf rw,mode=700
27 1 254:0 / / rw - ext4 /dev/vda rw";

    #[test]
    fn the_filesystem_of_pins() {
        check(&filesystem(MOUNTS, Path::new("/sys/fs/bpf/edgelb")), Status::Ok, "mounted at /sys/fs/bpf");
        check(&filesystem(MOUNTS, Path::new("/sys/fs/bpf2")), Status::Fail, "mount -t bpf");
        check(&filesystem(MOUNTS, Path::new("/run/edgelb")), Status::Fail, "/run/edgelb is not");
        let covered = format!("{MOUNTS}\n29 24 0:31 / /sys/fs/bpf rw - tmpfs tmpfs rw");
        check(&filesystem(&covered, Path::new("/sys/fs/bpf/edgelb")), Status::Fail, "--bpffs");
        check(&filesystem("", Path::new("/sys/fs/bpf")), Status::Fail, "not on a BPF filesystem");
    }

    #[test]
    fn open_files() {
        let limits =
            |soft: &str| format!("Max core file size 0 0 bytes\nMax open files  {soft}   524288  files\n");
        check(&files(files_of(&limits("1024")).expect("a number")), Status::Warn, "512 proxied");
        check(&files(files_of(&limits("65536")).expect("a number")), Status::Ok, "65536");
        check(&files(files_of(&limits("unlimited")).expect("a word")), Status::Ok, "no limit");
        assert!(files_of("").is_err() && files_of(&limits("many")).is_err());
    }
}
