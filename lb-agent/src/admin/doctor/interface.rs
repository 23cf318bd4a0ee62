//! One interface: whether it is up, how it runs XDP, its queues, offloads and settings.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

use lb_common::encap::{OVERHEAD_V4, OVERHEAD_V6};
use lb_common::map::program;

use super::Bpf;
use super::link::{Attached, Link};
use super::offload::{self, XdpFeatures};
use super::read::{Fact, Unread, setting};
use super::report::{Finding, Judgement, fail, judge, ok, warn};

/// RFC 8200: no less carries IPv6.
const LEAST_MTU: u32 = 1280;

/// What fits into one page with XDP's head room: most drivers refuse programs above.
const LARGEST_XDP_MTU: u32 = 3498;

pub(super) fn look(link: &Link, bpf: Bpf) -> Vec<Finding> {
    let name = link.name.as_str();
    let program = link.xdp.map(|attached| (attached, (bpf.program_name)(attached.id).map_err(Unread::from)));
    let is_ours = program.as_ref().is_some_and(|(_, name)| is_ours(name));
    let conf = |key: &str| effective(name, key);
    vec![
        state(link).about("state"),
        driver(link).about("driver"),
        mtu(link.mtu, link.xdp.is_some_and(|attached| attached.is_native)).about("MTU"),
        judge_program(name, program),
        judge("native XDP", offload::xdp(link.index), |features| native(features, is_ours)),
        judge("receive queues", queues_of(name), |found| queues(name, found, cpus())),
        judge("offloads", offload::active(link.index), |active| offloads(name, &active)),
        judge("rp_filter", conf("rp_filter"), |mode| reverse_path(name, mode)),
        judge("arp_ignore", conf("arp_ignore"), |mode| arp("arp_ignore", mode, 1, is_ours)),
        judge("arp_announce", conf("arp_announce"), |mode| arp("arp_announce", mode, 2, is_ours)),
    ]
}

fn state(link: &Link) -> Judgement {
    match (link.is_up, link.has_carrier) {
        (true, true) => ok("up"),
        (true, false) => {
            fail("up, but without carrier", "look at the cable, the switch port, or the other end")
        }
        (false, _) => fail("down", format!("ip link set dev {} up", link.name)),
    }
}

fn driver(link: &Link) -> Judgement {
    let path = Path::new("/sys/class/net").join(&link.name).join("device/driver");
    let device = fs::read_link(path).ok();
    let device = device.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    ok(device.or_else(|| link.kind.clone()).unwrap_or_else(|| "none: a virtual interface".to_owned()))
}

fn mtu(mtu: u32, is_native: bool) -> Judgement {
    let inner = |overhead: usize| mtu.saturating_sub(overhead as u32);
    let least = |overhead: usize| LEAST_MTU + overhead as u32;
    let found = format!(
        "{mtu}: between members, clients' packets of up to {} bytes fit ({} if members have IPv6 addresses)",
        inner(OVERHEAD_V4),
        inner(OVERHEAD_V6)
    );
    // Who sends over IPv6 heeds no word of less: what is not TCP, whose segments the proxy limits, is lost.
    let is_too_small = inner(OVERHEAD_V4) < LEAST_MTU;
    match mtu {
        ..LEAST_MTU => fail(found, format!("{LEAST_MTU} is the least for IPv6; 1500 or more is wise")),
        _ if is_too_small => warn(
            format!(
                "{found}, and clients' IPv6 packets may have {LEAST_MTU}: new TCP connections are asked for less, but what is \
                 longer all the same is lost"
            ),
            format!("{} or more, {} if members have IPv6 addresses", least(OVERHEAD_V4), least(OVERHEAD_V6)),
        ),
        LARGEST_XDP_MTU.. if !is_native => {
            warn(found, format!("most drivers run XDP natively only up to {LARGEST_XDP_MTU}"))
        }
        _ => ok(found),
    }
}

fn judge_program(interface: &str, program: Option<(Attached, Fact<String>)>) -> Finding {
    const ABOUT: &str = "XDP program";
    match program {
        None => ok("none: the agent is not attached").about(ABOUT),
        Some((attached, name)) => judge(ABOUT, name, |name| attachment(interface, attached, &name)),
    }
}

fn is_ours(name: &Fact<String>) -> bool {
    name.as_deref().is_ok_and(|name| OURS.contains(&name))
}

/// The packet path, and what stands in for it while somebody captures.
const OURS: [&str; 2] = [program::XDP, program::CAPTURE];

fn attachment(interface: &str, attached: Attached, name: &str) -> Judgement {
    let Attached { id, is_native } = attached;
    match (OURS.contains(&name), is_native) {
        (true, true) => ok(format!("ours ({name}, id {id}), native")),
        (true, false) => warn(
            format!("ours ({name}, id {id}), generic: in the network stack, several times slower"),
            "the agent's log and /debug/snapshot say why the driver refused; \
             often MTU, LRO, or too few transmit queues for the CPUs",
        ),
        (false, _) => fail(
            format!("someone else's: {} (id {id})", if name.is_empty() { "unnamed" } else { name }),
            format!(
                "remove it with its owner's means, or `ip link set dev {interface} xdp off`; \
                 or leave {interface} out of --interface"
            ),
        ),
    }
}

fn native(features: XdpFeatures, is_ours: bool) -> Judgement {
    match (features.is_native, features.can_transmit) {
        (false, _) => warn(
            "the driver cannot run it: generic mode, several times slower",
            "use a card whose driver can, for edge nodes with much traffic",
        ),
        // Drivers set up their transmit queues for it as they get a program: before, this means nothing.
        (true, false) if is_ours => warn(
            "the driver runs it, but sends no frames from other interfaces: packets for members are lost there",
            "use one interface for clients and members; a veth's other end needs an XDP program or GRO",
        ),
        (true, _) => ok("the driver can run it"),
    }
}

fn queues_of(name: &str) -> Fact<usize> {
    let entries = fs::read_dir(Path::new("/sys/class/net").join(name).join("queues"))?;
    let is_rx = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("rx-");
    Ok(entries.filter_map(Result::ok).filter(is_rx).count())
}

fn cpus() -> usize {
    available_parallelism().map_or(1, usize::from)
}

fn queues(interface: &str, queues: usize, cpus: usize) -> Judgement {
    let found = format!("{queues} for {cpus} CPUs");
    // Hyper-threads share a core: a queue for two of them does.
    if queues >= cpus.div_ceil(2) && (queues > 1 || cpus == 1) {
        return ok(found);
    }
    warn(
        format!("{found}: XDP runs on {queues} of them at most"),
        format!(
            "ethtool -L {interface} combined {cpus} (a virtual machine: give its card more queues; veth: `numrxqueues`)"
        ),
    )
}

/// The offloads that join packets before XDP sees them, and how to switch them off.
fn offloads(interface: &str, active: &BTreeSet<String>) -> Judgement {
    const JOINING: [(&str, &str); 2] = [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")];
    let on: Vec<_> =
        JOINING.iter().filter(|(name, _)| active.contains(*name)).map(|(_, flag)| *flag).collect();
    if on.is_empty() {
        return ok("the card does not join packets");
    }
    warn(
        format!("{} on: packets joined by the card do not go through XDP as they came", on.join(" and ")),
        format!("ethtool -K {interface} {} off", on.join(" off ")),
    )
}

/// The kernel takes the greater of the interface's setting and that of `all`.
fn effective(interface: &str, key: &str) -> Fact<u64> {
    let of = |place: &str| setting(&format!("net/ipv4/conf/{place}/{key}"));
    Ok(of("all")?.max(of(interface)?))
}

fn reverse_path(interface: &str, mode: u64) -> Judgement {
    if mode != 1 {
        return ok(format!("{mode}"));
    }
    warn(
        "1, strict: packets of clients that come by way of another member are dropped \
         if the route back to them leaves elsewhere",
        format!("sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.{interface}.rp_filter=2"),
    )
}

fn arp(key: &str, mode: u64, needed: u64, is_ours: bool) -> Judgement {
    if mode >= needed {
        return ok(format!("{mode}"));
    }
    if !is_ours {
        return ok(format!("{mode}; the agent sets it to {needed} when it attaches"));
    }
    warn(
        format!(
            "{mode}, though the agent had set it to {needed}: the node answers ARP for VIPs that it does not own"
        ),
        format!("find what sets net.ipv4.conf.*.{key} back, then restart the agent"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, tests::check};
    use super::*;

    fn link(is_up: bool, has_carrier: bool) -> Link {
        Link { name: "eth0".to_owned(), is_up, has_carrier, ..Link::default() }
    }

    #[test]
    fn interfaces_that_cannot_carry_anything() {
        check(&state(&link(true, true)), Status::Ok, "up");
        check(&state(&link(true, false)), Status::Fail, "cable");
        check(&state(&link(false, false)), Status::Fail, "ip link set dev eth0 up");
    }

    #[test]
    fn mtus() {
        check(&mtu(1500, false), Status::Ok, "1452 bytes fit (1432");
        check(&mtu(9000, true), Status::Ok, "9000");
        check(&mtu(9000, false), Status::Warn, "3498");
        check(&mtu(1328, true), Status::Ok, "1280 bytes fit");
        check(&mtu(1327, true), Status::Warn, "1279 bytes fit");
        check(&mtu(1300, true), Status::Warn, "longer all the same is lost");
        check(&mtu(1200, false), Status::Fail, "1280");
    }

    #[test]
    fn whose_program_and_how() {
        let attached = |is_native| Attached { id: 42, is_native };
        check(&attachment("eth0", attached(true), "edgelb_xdp"), Status::Ok, "native");
        check(&attachment("eth0", attached(true), "edgelb_capture"), Status::Ok, "native");
        check(&attachment("eth0", attached(false), "edgelb_xdp"), Status::Warn, "generic");
        check(&attachment("eth0", attached(true), "cil_xdp_entry"), Status::Fail, "cil_xdp_entry (id 42)");
        check(&attachment("eth0", attached(true), ""), Status::Fail, "ip link set dev eth0 xdp off");
    }

    #[test]
    fn what_drivers_can_do() {
        let features = |is_native, can_transmit| XdpFeatures { is_native, can_transmit };
        check(&native(features(false, false), false), Status::Warn, "generic");
        check(&native(features(true, false), false), Status::Ok, "can run");
        check(&native(features(true, false), true), Status::Warn, "other interfaces");
        check(&native(features(true, true), true), Status::Ok, "can run");
    }

    #[test]
    fn queues_and_offloads() {
        check(&queues("eth0", 1, 1), Status::Ok, "1 for 1");
        check(&queues("eth0", 1, 2), Status::Warn, "ethtool -L eth0 combined 2");
        check(&queues("eth0", 2, 8), Status::Warn, "2 for 8");
        check(&queues("eth0", 4, 8), Status::Ok, "4 for 8");
        let active = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        check(&offloads("eth0", &active(&["rx-gro"])), Status::Ok, "does not join");
        check(&offloads("eth0", &active(&["rx-lro"])), Status::Warn, "ethtool -K eth0 lro off");
        check(&offloads("eth0", &active(&["rx-lro", "rx-gro-hw"])), Status::Warn, "lro off rx-gro-hw off");
    }

    #[test]
    fn settings() {
        check(&reverse_path("eth0", 0), Status::Ok, "0");
        check(&reverse_path("eth0", 1), Status::Warn, "net.ipv4.conf.eth0.rp_filter=2");
        check(&reverse_path("eth0", 2), Status::Ok, "2");
        check(&arp("arp_ignore", 0, 1, false), Status::Ok, "sets it to 1");
        check(&arp("arp_ignore", 0, 1, true), Status::Warn, "restart the agent");
        check(&arp("arp_announce", 2, 2, true), Status::Ok, "2");
    }
}
