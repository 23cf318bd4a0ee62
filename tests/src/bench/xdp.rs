//! `cargo xtask bench xdp`: nanoseconds per packet of the verified program, beside two floors in the same run.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use lb_common::encap::{Chain, Header, INNER_V4, INNER_V6};
use lb_common::hash::flow_hash;
use lb_common::map::program;
use lb_common::row::{MemberId, Row as TableRow};

use super::report::{Report, Row};
use crate::fixture::{
    self, CLIENT4, CLIENT6, CLUSTER, NEAR, Outer, THIS, VIP4, VIP6, address, port_owned_by, tuple,
};
use crate::kernel::Kernel;
use crate::packet::{Ip, Transport};

/// Runs of one packet in one system call: enough that the call itself does not count.
const REPEAT: u32 = 1_000_000;
/// Alternating rounds; the median counts.
const ROUNDS: usize = 7;

const UNIT: &str = "ns/packet";
const RETURN: &str = "return at once";

/// What the benchmark is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Leave the program with its filled maps pinned here, for other tools.
    pub pin: Option<std::path::PathBuf>,
}

/// A packet with a program to give it to.
struct Case {
    name: String,
    program: &'static str,
    frames: Vec<Vec<u8>>,
}

/// Measures.
///
/// # Errors
/// Without the right to load programs, or on a kernel that refuses them.
pub fn run(options: &Options) -> Result<Report> {
    let mut kernel = Kernel::with(&fixture::wanted(Outer::V4))?;
    let cases = cases();
    let mut times = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for (case, times) in cases.iter().zip(&mut times) {
            times.push(time(&mut kernel, case)?);
        }
    }
    let medians: Vec<f64> = times.into_iter().map(median).collect();
    let mut report = Report::new("xdp");
    let floor = medians[0];
    for (case, time) in cases.iter().zip(medians) {
        report.rows.push(Row::new(&case.name, "edgelb, net", time - floor, UNIT));
    }
    report.rows[0] = Row::new(RETURN, "edgelb, gross", floor, UNIT);
    let encapsulation = report.rows[1].value;
    for row in &mut report.rows[2..] {
        *row = row.clone().over("parse and encapsulate", encapsulation);
    }
    if let Some(folder) = &options.pin {
        pin(&mut kernel, folder)?;
    }
    Ok(report)
}

fn cases() -> Vec<Case> {
    let syn = |client, vip, port| Ip::new(client, vip, Transport::tcp(port, 443, &[])).frame();
    let wanted = fixture::wanted(Outer::V4);
    let port4 = port_owned_by(&wanted, NEAR, CLIENT4, VIP4, 6, 443);
    let port6 = port_owned_by(&wanted, NEAR, CLIENT6, VIP6, 6, 443);
    let udp4 = port_owned_by(&wanted, NEAR, CLIENT4, VIP4, 17, 443);
    let here4 = port_owned_by(&wanted, THIS, CLIENT4, VIP4, 6, 443);
    let case = |name: &str, program, frame: Vec<u8>| Case { name: name.into(), program, frames: vec![frame] };
    let udp = Ip::new(CLIENT4, VIP4, Transport::udp(udp4, 443, b"quic")).frame();
    let other = Ip::new(CLIENT4, address(Outer::V4, THIS), Transport::tcp(40_000, 22, &[])).frame();
    vec![
        case(RETURN, program::FLOOR_RETURN, syn(CLIENT4, VIP4, port4)),
        case("parse and encapsulate", program::FLOOR_ENCAP, syn(CLIENT4, VIP4, port4)),
        case("first hop, IPv4 TCP", program::XDP, syn(CLIENT4, VIP4, port4)),
        case("first hop, IPv4 UDP", program::XDP, udp),
        case("first hop, IPv6 TCP", program::XDP, syn(CLIENT6, VIP6, port6)),
        case("first hop is owner, IPv4 TCP", program::XDP, syn(CLIENT4, VIP4, here4)),
        case("member, IPv4 TCP", program::XDP, encapsulated(CLIENT4, VIP4)),
        case("member, IPv6 TCP", program::XDP, encapsulated(CLIENT6, VIP6)),
        case("not for a VIP", program::XDP, other),
    ]
}

/// A packet as another first hop sends it here.
#[must_use]
pub fn encapsulated(client: IpAddr, vip: IpAddr) -> Vec<u8> {
    let port = 40_000;
    let inner = Ip::new(client, vip, Transport::tcp(port, 443, &[])).bytes();
    let key = fixture::local().key;
    let hash = flow_hash(&key, &tuple(client, vip, 6, port, 443));
    let protocol = if vip.is_ipv4() { INNER_V4 } else { INNER_V6 };
    let header = Header::new(protocol, Chain::to_opener(TableRow::of(THIS)), CLUSTER, &key, hash);
    wrap(NEAR, &[header.bytes().as_slice(), &inner].concat())
}

/// A datagram from a member to the encapsulation port of this node.
#[must_use]
pub fn wrap(from: MemberId, payload: &[u8]) -> Vec<u8> {
    let udp = Transport::udp(0xc000, lb_common::encap::DEFAULT_PORT, payload);
    Ip::new(address(Outer::V4, from), address(Outer::V4, THIS), udp).frame()
}

fn time(kernel: &mut Kernel, case: &Case) -> Result<f64> {
    let repeat = REPEAT / case.frames.len() as u32;
    let mut sum = 0.0;
    for frame in &case.frames {
        sum += kernel.time(case.program, frame, repeat)?;
    }
    Ok(sum / case.frames.len() as f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn pin(kernel: &mut Kernel, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(program::XDP);
    kernel.program(program::XDP)?.pin(&path).with_context(|| format!("cannot pin {}", path.display()))?;
    println!("pinned: {}", path.display());
    Ok(())
}
