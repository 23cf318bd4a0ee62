//! Whether this machine has what so many connections need, said before anything is raised.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::client::connect::ROUGH_PORTS;
use crate::lab::Namespace;

/// Descriptors of one process for a connection: an agent has one to its client and one to a pod.
const DESCRIPTORS: u64 = 2;

/// Descriptors for all else.
const MORE_DESCRIPTORS: u64 = 4_096;

/// Bytes of memory for a connection: sockets and buffers at the client, at two ends of the proxy and at the pod, and
/// those programs' own.
const MEMORY: u64 = 160 * 1024;

/// Bytes of memory for the lab.
const MORE_MEMORY: u64 = 512 * 1024 * 1024;

/// Raises the limit of open files, which agents and pods inherit, and looks for memory.
///
/// # Errors
/// Says what is missing.
pub(super) fn check(connections: u64) -> Result<()> {
    let wanted = DESCRIPTORS * connections + MORE_DESCRIPTORS;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).with_context(|| {
            format!(
                "{connections} connections take up to {wanted} open files in one process, and {hard} are allowed: \
                 take fewer connections, or raise it (sysctl fs.nr_open={wanted})"
            )
        })?;
    }
    let all = MEMORY * connections + MORE_MEMORY;
    let meminfo = fs::read_to_string("/proc/meminfo").context("how much memory there is")?;
    let free = available(&meminfo).context("no MemAvailable in /proc/meminfo")?;
    ensure!(
        free >= all,
        "{connections} connections take about {} MiB of memory, and {} MiB are free: take fewer (--connections)",
        all >> 20,
        free >> 20
    );
    Ok(())
}

/// Bytes that programs can still have.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Looks for source ports where the clients are: connections of one family go to one VIP.
///
/// # Errors
/// Says how many there are.
pub(super) fn ports(clients: &Namespace, connections: u64) -> Result<()> {
    let file = "/proc/sys/net/ipv4/ip_local_port_range";
    let text = clients.run(|| fs::read_to_string(file)).with_context(|| file.to_owned())?;
    let (first, last) = range(&text).with_context(|| format!("{file}: {text:?}"))?;
    ensure!(first >= u64::from(ROUGH_PORTS.end), "ports from {first} on are taken by the relay's clients");
    let (free, wanted) = (last + 1 - first, connections / 2 + connections / 10);
    ensure!(
        free >= wanted,
        "{connections} connections take {wanted} source ports, and {free} are there ({file})"
    );
    Ok(())
}

fn range(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    let range = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (range.0 <= range.1).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:    2048 kB\nBuffers: 1 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
        assert_eq!(range("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!(range("60999 32768"), None);
    }
}
