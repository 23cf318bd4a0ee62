//! Settings of the network namespace as a whole: sysctls and tables with limits.

use super::read::{Fact, Unread, setting, text};
use super::report::{Finding, Judgement, judge, ok, unknown, warn};

/// The proxy's listeners ask for this much.
const BACKLOG: u64 = 4096;

/// The kernel's own default: below it somebody made it small.
const FEW_NEIGHBOURS: u64 = 1024;

/// What a machine with a few GiB gets by default.
const FEW_TRACKED: u64 = 262_144;

pub(super) fn look() -> Vec<Finding> {
    vec![
        judge("accept queue", setting("net/core/somaxconn"), accept_queue),
        look_at_neighbours("IPv4 neighbours", "ipv4", "arp_cache"),
        look_at_neighbours("IPv6 neighbours", "ipv6", "ndisc_cache"),
        look_at_tracking(),
    ]
}

fn look_at_neighbours(about: &'static str, family: &str, cache: &str) -> Finding {
    let key = format!("net/{family}/neigh/default/gc_thresh3");
    judge(about, setting(&key), |limit| {
        let held = text(format!("/proc/net/stat/{cache}")).and_then(|stat| entries(&stat)).ok();
        neighbours(family, limit, held)
    })
}

fn look_at_tracking() -> Finding {
    const ABOUT: &str = "conntrack";
    match (setting("net/netfilter/nf_conntrack_max"), setting("net/netfilter/nf_conntrack_count")) {
        (Ok(limit), Ok(held)) => tracking(limit, held).about(ABOUT),
        (Err(Unread::Missing), _) => ok("not loaded: it limits nothing").about(ABOUT),
        (Err(unread), _) | (_, Err(unread)) => unknown(ABOUT, &unread),
    }
}

fn accept_queue(limit: u64) -> Judgement {
    if limit >= BACKLOG {
        return ok(format!("net.core.somaxconn is {limit}"));
    }
    warn(
        format!("net.core.somaxconn is {limit}: bursts of new connections overflow it"),
        format!("sysctl -w net.core.somaxconn={BACKLOG}"),
    )
}

/// The first column of `/proc/net/stat/*_cache`, in base 16; each CPU's line has the same.
fn entries(stat: &str) -> Fact<u64> {
    let first = stat.lines().nth(1).and_then(|line| line.split_whitespace().next());
    first
        .and_then(|entries| u64::from_str_radix(entries, 16).ok())
        .ok_or_else(|| Unread::Failed("no such table as expected".to_owned()))
}

fn neighbours(family: &str, limit: u64, held: Option<u64>) -> Judgement {
    let found = match held {
        Some(held) => format!("{held} of at most {limit}"),
        None => format!("at most {limit}"),
    };
    if limit >= FEW_NEIGHBOURS && held.unwrap_or_default() <= limit / 2 {
        return ok(found);
    }
    let raised = limit.max(FEW_NEIGHBOURS) * 8;
    warn(
        format!("{found}: when it is full, members and gateways cannot be resolved"),
        format!(
            "sysctl -w net.{family}.neigh.default.gc_thresh3={raised} net.{family}.neigh.default.gc_thresh2={}",
            raised / 2
        ),
    )
}

fn tracking(limit: u64, held: u64) -> Judgement {
    let found = format!("{held} of at most {limit} flows");
    if limit >= FEW_TRACKED && held < limit / 5 * 4 {
        return ok(found);
    }
    let raised = limit.max(FEW_TRACKED) * 4;
    warn(
        format!("{found}: connections delivered to the proxy count, and new ones fail when it is full"),
        format!("sysctl -w net.netfilter.nf_conntrack_max={raised}, or a NOTRACK rule for the VIPs"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, tests::check};
    use super::*;

    #[test]
    fn queues_and_tables() {
        check(&accept_queue(4096), Status::Ok, "4096");
        check(&accept_queue(128), Status::Warn, "somaxconn=4096");
        check(&neighbours("ipv4", 1024, Some(17)), Status::Ok, "17 of at most 1024");
        check(&neighbours("ipv4", 1024, None), Status::Ok, "at most 1024");
        check(&neighbours("ipv4", 128, Some(3)), Status::Warn, "gc_thresh3=8192");
        check(&neighbours("ipv6", 1024, Some(900)), Status::Warn, "net.ipv6.neigh.default.gc_thresh3=8192");
        check(&tracking(262_144, 12), Status::Ok, "12 of");
        check(&tracking(65_536, 12), Status::Warn, "NOTRACK");
        check(&tracking(262_144, 250_000), Status::Warn, "nf_conntrack_max=1048576");
    }

    #[test]
    fn neighbours_are_counted_in_base_16() {
        assert_eq!(entries("entries  allocs\n0000001f 000001f0\n0000001f 0\n"), Ok(31));
        assert!(entries("entries\n").is_err());
    }
}
