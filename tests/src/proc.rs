//! What a process uses, by the kernel's account in `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::unistd::{SysconfVar, sysconf};

/// Resident memory of a process, KiB.
///
/// # Errors
/// If there is no such process.
pub fn resident_kib(pid: u32) -> Result<u64> {
    kib(&read(pid, "status")?, "VmRSS:")
}

/// The same, with what several processes share divided among them, KiB: of a family's sum nothing is counted twice.
///
/// # Errors
/// As `resident_kib`.
pub fn proportional_kib(pid: u32) -> Result<u64> {
    kib(&read(pid, "smaps_rollup")?, "Pss:")
}

/// Time that a process was on a processor since its start, in user space and in the kernel.
///
/// # Errors
/// As `resident_kib`.
pub fn processor_time(pid: u32) -> Result<Duration> {
    let stat = read(pid, "stat")?;
    // The name, the second field, stands in parentheses and may have spaces in it.
    let after_name = stat.rsplit_once(") ").context("stat")?.1;
    let ticks = after_name.split(' ').skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.sum::<Result<u64, _>>()?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("CLK_TCK")?;
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// The processes that a process has started and that still run.
///
/// # Errors
/// As `resident_kib`.
pub fn children(pid: u32) -> Result<BTreeSet<u32>> {
    let is_child = |other: &u32| {
        // One may end while we look.
        let status = read(*other, "status").unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        parent.is_some_and(|parent| parent.trim() == pid.to_string())
    };
    let entries = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(entries.filter(is_child).collect())
}

fn kib(text: &str, name: &str) -> Result<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB"));
    Ok(value.with_context(|| name.to_owned())?.trim().parse()?)
}

/// Established connections of a process to an IPv4 address.
///
/// # Errors
/// As `resident_kib`, and for an IPv6 address.
pub fn connections_to(pid: u32, address: SocketAddr) -> Result<usize> {
    let SocketAddr::V4(address) = address else { bail!("an IPv4 address is expected") };
    let remote = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    let links =
        fs::read_dir(format!("/proc/{pid}/fd"))?.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let links: Vec<_> = links.map(|link| link.display().to_string()).collect();
    let is_ours = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, _, to, "01", ..] = fields[..] else { return false };
        to == remote && links.contains(&format!("socket:[{}]", fields[9]))
    };
    Ok(read(pid, "net/tcp")?.lines().filter(is_ours).count())
}

/// A file of the process's folder.
pub(crate) fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| path)
}
