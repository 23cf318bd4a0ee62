//! `cargo xtask bench xdp`: nanoseconds per packet of the verified program, beside two floors in the same run.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use lb_agent::l4::pins::Pins;
use lb_agent::l4::wanted::{INGRESS_TABLE, Key, Target, Wanted};
use lb_agent::model::{Protocol, ServiceAddress};
use lb_common::encap::{Chain, Header, INNER_V4, INNER_V6};
use lb_common::hash::{FlowKey, Tuple, flow_hash};
use lb_common::map::{program, service};
use lb_common::quic::{ConnectionId, ID_LEN};
use lb_common::row::{MemberId, Row as TableRow};

use super::report::{Report, Row, median};
use crate::fixture::{
    self, CLIENT4, CLIENT6, CLUSTER, INGRESS, NEAR, Outer, THIS, VIP4, VIP6, address, tuple,
};
use crate::handshake::{Client, Node};
use crate::kernel::Kernel;
use crate::packet::{Ip, Transport};

/// Runs of one packet in one system call: enough that the call itself does not count.
const REPEAT: u32 = 1_000_000;
/// Alternating rounds; the median counts.
const ROUNDS: usize = 7;

/// What a first hop may take whose row is in the cache, and a member that looks for one socket.
const FIRST_HOP: f64 = 50.0;
const LOOKED_UP: f64 = 160.0;

const UNIT: &str = "ns/packet";
const ENCAPSULATE: &str = "parse and encapsulate";

/// What the benchmark is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Leave the program with its filled maps pinned here, on a BPF filesystem, for other tools.
    pub pin: Option<std::path::PathBuf>,
}

/// Flows in turn: a row of the table is in the first-level cache, or nearly none is.
const FLOWS: [u32; 4] = [1, 1 << 10, 1 << 17, 1 << 20];

/// A client's port whose handshake is not over.
const HALF_OPEN: u16 = 40_002;

/// Behind the headers, so that frames are as long as what is put back between runs.
const PAYLOAD: &[u8] = &[0x5a; 64];

/// A client's port that has a connection to the node, and one that has none.
const CONNECTED: u16 = 40_001;
const UNCONNECTED: u16 = 40_000;

/// A packet with a program to give it to.
struct Case {
    name: String,
    program: &'static str,
    frame: Vec<u8>,
    flows: u32,
    /// A packet that comes before.
    first: Option<Vec<u8>>,
    /// Whether the node goes by two flow keys.
    has_two_keys: bool,
    /// Nanoseconds that it may take.
    at_most: Option<f64>,
}

/// Measures.
///
/// # Errors
/// Without the right to load programs, or on a kernel that refuses them.
///
/// # Panics
/// Without the right to make namespaces.
pub fn run(options: &Options) -> Result<Report> {
    let node = Node::new();
    // Their clients' segments find a socket.
    let _connection = node.open(CLIENT4, CONNECTED);
    let half_open = node.half_open(CLIENT4, HALF_OPEN);
    node.namespace.run(|| measure(options, &half_open))
}

fn measure(options: &Options, half_open: &Client) -> Result<Report> {
    let mut kernel = match &options.pin {
        Some(folder) => Kernel::pinned(&Pins::new(folder.clone()))?,
        None => Kernel::load()?,
    };
    let wanted = with_quic(away(INGRESS));
    let [_, two_keys, ..] = fixture::roll_over().map(|keys| fixture::by_keys(wanted.clone(), keys));
    let cases = cases(half_open);
    let mut times = vec![Vec::new(); cases.len()];
    let mut floors = Vec::new();
    for _ in 0..ROUNDS {
        for (case, times) in cases.iter().zip(&mut times) {
            kernel.set(if case.has_two_keys { &two_keys } else { &wanted })?;
            let floor = kernel.time(program::FLOOR_RETURN, &case.frame, case.flows, REPEAT)?;
            if let Some(first) = &case.first {
                kernel.run(first)?;
            }
            let gross = kernel.time(case.program, &case.frame, case.flows, REPEAT)?;
            times.push(gross - floor);
            floors.push(floor);
        }
    }
    let mut report = Report::new("xdp");
    report.rows.push(Row::new(
        "return at once, with putting the frame back",
        "floor, gross",
        median(floors),
        UNIT,
    ));
    let medians: Vec<f64> = times.into_iter().map(median).collect();
    let encapsulation = medians[0];
    for (case, time) in cases.iter().zip(medians) {
        let subject = if case.program == program::XDP { "edgelb, net" } else { "floor, net" };
        let row = Row::new(&case.name, subject, time, UNIT).over(ENCAPSULATE, encapsulation);
        report.rows.push(match case.at_most {
            Some(at_most) => row.at_most(at_most),
            None => row,
        });
    }
    if let Some(folder) = &options.pin {
        pin(&mut kernel, folder)?;
    }
    Ok(report)
}

/// The fixture's state, but that this node opens no flows: every packet for a VIP is sent on by this interface.
pub(super) fn away(interface: u32) -> Wanted {
    let mut snapshot = fixture::snapshot(Outer::V4);
    if let Some(this) = snapshot.members.get_mut("edge-1") {
        this.weight = 0;
    }
    let mut wanted = fixture::wanted_of(&snapshot, Outer::V4);
    // One network card, as most edge nodes have.
    wanted.members.values_mut().for_each(|member| member.ifindex = interface);
    wanted
}

/// A service beside the others whose clients speak QUIC.
const QUIC_PORT: u16 = 8_443;

fn with_quic(mut wanted: Wanted) -> Wanted {
    let service = ServiceAddress { vip: VIP4, port: QUIC_PORT, protocol: Protocol::Udp };
    let target = Target { table: INGRESS_TABLE, flags: service::LISTENER | service::QUIC };
    wanted.services.insert(Key::Service(service), target);
    wanted
}

/// A packet of a connection that `member` has, or of one that begins.
fn quic(member: Option<MemberId>) -> Vec<u8> {
    // Of an ID that is not ours only the first bits are looked at, but one in eight has ours.
    let id = member
        .map_or([0x1b; ID_LEN], |id| ConnectionId::new(&fixture::local().keys.in_force, id, 0x5a).bytes());
    let payload = [&[0x43], &id[..], PAYLOAD].concat();
    Ip::new(CLIENT4, VIP4, Transport::udp(UNCONNECTED, QUIC_PORT, &payload)).frame()
}

fn cases(half_open: &Client) -> Vec<Case> {
    let tcp = |client, vip| Ip::new(client, vip, Transport::tcp(UNCONNECTED, 443, PAYLOAD)).frame();
    let udp = |client, vip| Ip::new(client, vip, Transport::udp(UNCONNECTED, 443, PAYLOAD)).frame();
    let case = |name: &str, program, frame, flows| Case {
        name: name.into(),
        program,
        frame,
        flows,
        first: None,
        has_two_keys: false,
        at_most: None,
    };
    let mut cases = vec![case(ENCAPSULATE, program::FLOOR_ENCAP, tcp(CLIENT4, VIP4), 1)];
    for (name, frame) in [
        ("first hop, IPv4 TCP", tcp(CLIENT4, VIP4)),
        ("first hop, IPv4 UDP", udp(CLIENT4, VIP4)),
        ("first hop, IPv6 TCP", tcp(CLIENT6, VIP6)),
        ("first hop, IPv6 UDP", udp(CLIENT6, VIP6)),
    ] {
        for flows in FLOWS {
            let at_most = (flows == 1).then_some(FIRST_HOP);
            let name = format!("{name}, {flows} flows");
            cases.push(Case { at_most, ..case(&name, program::XDP, frame.clone(), flows) });
        }
    }
    let ssh = Transport::tcp(UNCONNECTED, 22, PAYLOAD);
    let other = Ip::new(CLIENT4, address(Outer::V4, THIS), ssh).frame();
    cases.extend([
        case("first hop, IPv4 QUIC, a member's ID", program::XDP, quic(Some(NEAR)), 1),
        case("first hop, IPv4 QUIC, a client's ID", program::XDP, quic(None), 1),
        case("member, IPv4 TCP", program::XDP, encapsulated(CLIENT4, VIP4), 1),
        case("member, IPv6 TCP", program::XDP, encapsulated(CLIENT6, VIP6), 1),
        Case {
            at_most: Some(LOOKED_UP),
            ..case("member, IPv4 TCP, asked and has it", program::XDP, asked(CONNECTED), 1)
        },
        case("member, IPv4 TCP, asked and passed on", program::XDP, asked(UNCONNECTED), 1),
        case("member, IPv4 TCP, asked and has it half open", program::XDP, asked_by(half_open), 1),
        case("ICMP error about IPv4 TCP", program::XDP, unreachable(CLIENT4, VIP4), 1),
        case("ping, IPv4", program::XDP, ping(CLIENT4, VIP4), 1),
        case("fragment, IPv4 TCP, to its collector", program::XDP, part(0).frame(), 1),
        case("fragment, IPv4 TCP, first part at its collector", program::XDP, collected(0), 1),
        Case {
            first: Some(collected(0)),
            ..case("fragment, IPv4 TCP, later part at its collector", program::XDP, collected(1), 1)
        },
        case("not for a VIP", program::XDP, other, 1),
    ]);
    for (name, frame) in [
        ("first hop, IPv4 TCP, two flow keys", tcp(CLIENT4, VIP4)),
        ("first hop, IPv6 TCP, two flow keys", tcp(CLIENT6, VIP6)),
        ("member, IPv4 TCP, two flow keys", encapsulated(CLIENT4, VIP4)),
    ] {
        cases.push(Case { has_two_keys: true, ..case(name, program::XDP, frame, 1) });
    }
    let by_next = with_key(
        fixture::roll_over()[3].in_force,
        CLIENT4,
        VIP4,
        UNCONNECTED,
        Chain::to_opener(TableRow::of(THIS)),
    );
    cases.push(Case {
        has_two_keys: true,
        ..case("member, IPv4 TCP, tagged by the other of two flow keys", program::XDP, by_next, 1)
    });
    cases
}

fn ping(client: IpAddr, vip: IpAddr) -> Vec<u8> {
    let echo = [&[8, 0, 0, 0, 0, 1, 0, 1], PAYLOAD].concat();
    Ip::new(client, vip, Transport::other(1, &echo)).frame()
}

/// Any identification of a datagram.
const DATAGRAM: u32 = 0xa3b4;

/// One of two parts of a segment.
fn part(index: usize) -> Ip {
    let segment = Transport::tcp(UNCONNECTED, 443, &[0x5a; 2 * PAYLOAD.len()]);
    Ip::new(CLIENT4, VIP4, segment).parts(DATAGRAM, 2 * PAYLOAD.len()).swap_remove(index)
}

/// As another first hop sends it to this node, its collector.
fn collected(index: usize) -> Vec<u8> {
    let key = fixture::local().keys.in_force;
    let hash = flow_hash(&key, &tuple(CLIENT4, VIP4, 0x80 | 6, DATAGRAM as u16, 0));
    let chain = Chain::to_opener(TableRow::of(THIS));
    let header = Header::new(INNER_V4, chain, CLUSTER, &key, hash);
    wrap(NEAR, &[header.bytes().as_slice(), &part(index).bytes()].concat())
}

/// What the client says of a segment of the VIP's.
fn unreachable(client: IpAddr, vip: IpAddr) -> Vec<u8> {
    let about = Ip::new(vip, client, Transport::tcp(443, UNCONNECTED, PAYLOAD)).bytes();
    let error = [&[3, 1, 0, 0, 0, 0, 0, 0], &about[..]].concat();
    Ip::new(client, vip, Transport::other(1, &error)).frame()
}

/// A packet as another first hop sends it here.
#[must_use]
pub fn encapsulated(client: IpAddr, vip: IpAddr) -> Vec<u8> {
    with_chain(client, vip, UNCONNECTED, Chain::to_opener(TableRow::of(THIS)))
}

/// A segment of a flow for which this node is asked first; another member may have it.
fn asked(port: u16) -> Vec<u8> {
    with_chain(CLIENT4, VIP4, port, Chain::to_opener(TableRow::new([THIS, NEAR, 0])))
}

/// The end of a handshake for which this node is asked first.
fn asked_by(half_open: &Client) -> Vec<u8> {
    let chain = Chain::to_opener(TableRow::new([THIS, NEAR, 0]));
    sent_by(fixture::local().keys.in_force, &half_open.tuple(), INNER_V4, chain, &half_open.ack().bytes())
}

fn with_chain(client: IpAddr, vip: IpAddr, port: u16, chain: Chain) -> Vec<u8> {
    with_key(fixture::local().keys.in_force, client, vip, port, chain)
}

fn with_key(key: FlowKey, client: IpAddr, vip: IpAddr, port: u16, chain: Chain) -> Vec<u8> {
    let inner = Ip::new(client, vip, Transport::tcp(port, 443, PAYLOAD)).bytes();
    let protocol = if vip.is_ipv4() { INNER_V4 } else { INNER_V6 };
    sent_by(key, &tuple(client, vip, 6, port, 443), protocol, chain, &inner)
}

/// A flow's packet as another member sends it by a key.
fn sent_by(key: FlowKey, flow: &Tuple, protocol: u8, chain: Chain, inner: &[u8]) -> Vec<u8> {
    let header = Header::new(protocol, chain, CLUSTER, &key, flow_hash(&key, flow));
    wrap(NEAR, &[header.bytes().as_slice(), inner].concat())
}

/// A datagram from a member to the encapsulation port of this node.
#[must_use]
pub fn wrap(from: MemberId, payload: &[u8]) -> Vec<u8> {
    let udp = Transport::udp(0xc000, lb_common::encap::DEFAULT_PORT, payload);
    Ip::new(address(Outer::V4, from), address(Outer::V4, THIS), udp).frame()
}

fn pin(kernel: &mut Kernel, folder: &Path) -> Result<()> {
    let path = folder.join(program::XDP);
    kernel.program(program::XDP)?.pin(&path).with_context(|| format!("cannot pin {}", path.display()))?;
    println!("pinned: {}, its maps in {}", path.display(), Pins::new(folder.to_owned()).maps().display());
    Ok(())
}
