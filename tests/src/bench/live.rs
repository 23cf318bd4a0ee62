//! `cargo xtask bench live`: real frames through a node on one core: edgelb as their first hop, beside what Linux does
//! with them by itself. The core sends, passes on and takes in; what is not the node's is a row of its own.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use aya::programs::XdpMode;
use lb_common::map::program;

use super::affinity;
use super::report::{Report, Row, median};
use super::xdp::away;
use crate::fixture::{CLIENT4, FAR, NEAR, Outer, THIS, VIP4, address};
use crate::kernel::Kernel;
use crate::lab::Namespace;
use crate::lab::netlink::{End, add_address, connect, fixed_neighbour, index_of, set_mac, set_up, spread};
use crate::packet::{Ip, NODE_MAC, ROUTER_MAC, Transport};

/// Frames of one turn, and turns of each: the median counts.
const FRAMES: u32 = 2_000_000;
const ROUNDS: usize = 7;

const FLOWS: u32 = 1 << 10;

const CORE: usize = 0;

/// The lowest priority.
const LAST: i32 = 19;

/// The generator's end of the link, and the node's.
const OUT: &str = "out";
const IN: &str = "in";

/// Not the next hop's: where no program takes what arrives, Linux looks no further than this.
const OUT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x77];

const FLOOR: &str = "sent back at once";

/// A node that frames go through, and where they come from and go to.
struct Bed {
    name: &'static str,
    generator: Namespace,
    node: Namespace,
    out: u32,
    /// Their programs are attached for as long as they live.
    attached: Vec<Kernel>,
}

/// Measures.
///
/// # Errors
/// Without root or `nft`, or if frames get lost.
pub fn run() -> Result<Report> {
    let mut report = Report::new("live");
    affinity::pin(CORE)?;
    let mut sender = Kernel::load()?;
    let beds = [reflecting()?, edgelb()?, forwarding()?, translating()?];
    let frame = Ip::new(CLIENT4, VIP4, Transport::tcp(40_000, 443, &[0x5a; 64])).frame();
    let mut times = vec![Vec::new(); beds.len()];
    for _ in 0..ROUNDS {
        for (bed, times) in beds.iter().zip(&mut times) {
            times.push(bed.turn(&mut sender, &frame).with_context(|| bed.name)?);
        }
    }
    let nanos: Vec<f64> = times.into_iter().map(median).collect();
    for (bed, nanos) in beds.iter().zip(&nanos) {
        report.rows.push(Row::new(bed.name, "one core, all included", 1_000.0 / nanos, "Mpkt/s"));
    }
    let edgelb = nanos[1] - nanos[0];
    for (bed, all) in beds.iter().zip(&nanos).skip(1) {
        let beyond = Row::new(bed.name, format!("beyond {FLOOR}"), all - nanos[0], "ns/packet");
        report.rows.push(beyond.over("edgelb", edgelb));
    }
    Ok(report)
}

/// What sending and taking in cost.
fn reflecting() -> Result<Bed> {
    let mut bed = Bed::new(FLOOR)?;
    bed.attach_to_node(Kernel::load()?, program::FLOOR_RETURN)?;
    bed.attach_sink()?;
    Ok(bed)
}

fn edgelb() -> Result<Bed> {
    let mut bed = Bed::new("edgelb, first hop")?;
    let interface = index_of(End { namespace: &bed.node, interface: IN })?;
    bed.attach_to_node(Kernel::with(&away(interface))?, program::XDP)?;
    bed.attach_sink()?;
    Ok(bed)
}

/// The kernel's way between two next hops, each flow by its own.
fn forwarding() -> Result<Bed> {
    let mut bed = Bed::new("Linux, ECMP forwarding")?;
    bed.forward()?;
    spread(&bed.node, (VIP4, 32), &[NEAR, FAR].map(|id| address(Outer::V4, id)))?;
    Ok(bed)
}

/// The VIP's flows to two endpoints, as kube-proxy does it.
fn translating() -> Result<Bed> {
    let mut bed = Bed::new("Linux, nftables NAT")?;
    bed.forward()?;
    let [near, far] = [NEAR, FAR].map(|id| address(Outer::V4, id));
    let rules = format!(
        "table ip edge {{
           chain in {{ type nat hook prerouting priority dstnat;
             ip daddr {VIP4} tcp dport 443 dnat to numgen random mod 2 map {{ 0 : {near}, 1 : {far} }}; }}
           chain out {{ type nat hook postrouting priority srcnat; masquerade; }}
         }}"
    );
    bed.node.run(|| rule(&rules))?;
    // A card does it.
    bed.node.set_sysctl("netfilter/nf_conntrack_checksum", "0")?;
    Ok(bed)
}

fn rule(rules: &str) -> Result<()> {
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().context("nft")?;
    nft.stdin.take().context("nft takes rules")?.write_all(rules.as_bytes())?;
    let status = nft.wait()?;
    ensure!(status.success(), "nft: {status}");
    Ok(())
}

impl Bed {
    fn new(name: &'static str) -> Result<Self> {
        let (generator, node) = (Namespace::passing("generator")?, Namespace::passing("node")?);
        connect(&generator, OUT, &node, IN)?;
        let (out, into) =
            (End { namespace: &generator, interface: OUT }, End { namespace: &node, interface: IN });
        for (end, mac) in [(out, OUT_MAC), (into, NODE_MAC)] {
            set_mac(end, mac)?;
            set_up(end, true)?;
        }
        let out = index_of(out)?;
        Ok(Self { name, generator, node, out, attached: Vec::new() })
    }

    /// Makes the node a router with two next hops. Frames from XDP arrive only where there is a program.
    fn forward(&mut self) -> Result<()> {
        self.attach_to_node(Kernel::load()?, program::PASS)?;
        for (key, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/in/rp_filter", "0"),
            ("ipv4/conf/all/send_redirects", "0"),
            ("ipv4/conf/in/send_redirects", "0"),
            ("ipv4/fib_multipath_hash_policy", "1"),
        ] {
            self.node.set_sysctl(key, value)?;
        }
        let end = End { namespace: &self.node, interface: IN };
        // What the other way of translated flows leaves by.
        add_address(&self.node, IN, address(Outer::V4, THIS))?;
        [NEAR, FAR].into_iter().try_for_each(|id| fixed_neighbour(end, address(Outer::V4, id), ROUTER_MAC))
    }

    fn attach_to_node(&mut self, kernel: Kernel, program: &str) -> Result<()> {
        let node = self.node.clone();
        self.attach(&node, IN, kernel, program)
    }

    fn attach_sink(&mut self) -> Result<()> {
        let generator = self.generator.clone();
        self.attach(&generator, OUT, Kernel::load()?, program::BENCH_SINK)
    }

    fn attach(&mut self, at: &Namespace, interface: &str, mut kernel: Kernel, program: &str) -> Result<()> {
        at.run(|| kernel.program(program)?.attach(interface, XdpMode::Driver).context("attaching XDP"))?;
        self.attached.push(kernel);
        Ok(())
    }

    /// Nanoseconds per frame.
    fn turn(&self, sender: &mut Kernel, frame: &[u8]) -> Result<f64> {
        let (took, arrived) = self.generator.run(|| {
            affinity::pin(CORE)?;
            // What the kernel leaves to its thread goes first, or frames pile up and get lost.
            rustix::process::nice(LAST)?;
            let before = received()?;
            let took = sender.send(frame, FLOWS, self.out, FRAMES)?;
            anyhow::Ok((took, received()? - before))
        })?;
        ensure!(arrived >= u64::from(FRAMES) * 99 / 100, "{arrived} of {FRAMES} frames arrived");
        Ok(took.as_nanos() as f64 / f64::from(FRAMES))
    }
}

/// Frames that the generator's end of the link took in, in the caller's namespace.
fn received() -> Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = table.lines().find_map(|line| line.trim().strip_prefix(OUT)?.strip_prefix(':'));
    let packets = line.and_then(|line| line.split_whitespace().nth(1)).context("no such interface")?;
    Ok(packets.parse()?)
}
