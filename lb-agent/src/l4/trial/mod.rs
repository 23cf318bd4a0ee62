//! A trial: a made-up packet goes through the packet path as it is in force on this node, and is neither sent nor
//! counted. The program is loaded a second time beside the one that is attached: it decides by the same pinned maps
//! and counts into maps of its own; the kernel runs it on one frame (`BPF_PROG_TEST_RUN`) and drops that. Needs no
//! agent.

mod packet;
mod sent;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use aya::Ebpf;
use aya::programs::{TestRun, TestRunOptions, Xdp, loaded_programs};
use lb_common::hash::flow_hash;
use lb_common::map::{Config, Member, Service, TableHead, member, name, program};
use lb_common::row::{BUCKETS, MemberId, NO_MEMBER, Row, bucket};
use lb_common::verdict::Verdict;

pub use self::packet::Packet;
pub use self::sent::Sent;
pub(super) use self::sent::chain;
use super::attach::typed;
use super::maps::Maps;
use super::pins::Pins;
use super::wanted::{Key, address_of};
use super::{L4Error, counters, interface, loader, netlink, sockets};
use crate::model::{Protocol, ServiceAddress};

/// A table's slot is read as a value of half a megabyte.
const STACK: usize = 16 << 20;

/// Largest frame that the packet path can make of what it is given.
const MAX_FRAME: usize = 4096;

/// What became of the packet, and what it was decided by.
#[derive(Clone, Debug)]
pub struct Trial {
    /// This node's id as a member, if it is one.
    pub this: Option<MemberId>,
    /// Whether the packet is for a VIP.
    pub is_vip: bool,
    /// Whether a service is at its port, and if so whether the proxy listens for it.
    pub service: Option<Service>,
    /// Where its flow is in the service's table.
    pub flow: Option<Flow>,
    /// What happened to it.
    pub verdict: Verdict,
    /// What is sent to another member.
    pub sent: Option<Sent>,
    /// Whether this node's kernel has a connection between its two ends; `None` for UDP.
    pub is_held: Option<bool>,
    /// The interfaces with the packet path on them. It came in on the first.
    pub interfaces: Vec<String>,
    /// Whether the program on them is the one that was asked here, or its own that captures; `None` where there is none.
    pub is_same_program: Option<bool>,
}

/// A flow's place in a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flow {
    /// The bucket, below `BUCKETS`.
    pub bucket: u32,
    /// The table's head.
    pub head: TableHead,
    /// The members of its row, the opener first, and how each is reached.
    pub row: Vec<(MemberId, Way)>,
}

/// How a member is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    /// Its address; `None` where this node does not know it.
    pub address: Option<IpAddr>,
    /// The interface towards it; `None` where there is no way, and for this node itself.
    pub interface: Option<String>,
}

/// All buckets of a table.
pub const ALL_BUCKETS: u32 = BUCKETS;

impl Trial {
    /// Gives a packet, whose ends must be of one family, to the packet path whose maps are pinned there.
    ///
    /// # Errors
    /// `L4Error`: nothing is pinned, rights are missing, or the kernel refuses.
    pub async fn of(packet: Packet, pins: &Pins) -> Result<Self, L4Error> {
        let attached = attached(pins).await?;
        let pins = pins.clone();
        let trial = thread::Builder::new().stack_size(STACK).spawn(move || run(packet, &pins, attached));
        let action = "run a packet through the packet path";
        let failed = |source| L4Error::System { action, source };
        trial.map_err(failed)?.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// An interface that has the packet path on it.
#[derive(Debug)]
struct Attached {
    name: String,
    index: u32,
    program: Option<u32>,
}

async fn attached(pins: &Pins) -> Result<Vec<Attached>, L4Error> {
    let links = pins.xdp_links()?;
    let all = interface::list(&netlink::connect()?).await?;
    let ours = all.into_iter().filter(|found| links.iter().any(|(name, _)| *name == found.name));
    Ok(ours
        .map(|found| Attached {
            name: found.name,
            index: found.index,
            program: found.program.map(|program| program.id),
        })
        .collect())
}

fn run(packet: Packet, pins: &Pins, attached: Vec<Attached>) -> Result<Trial, L4Error> {
    let mut object = loader::load_beside(pins)?;
    let maps = Maps::take(&mut object)?;
    let xdp: &mut Xdp = typed(&mut object, program::XDP)?;
    let tag = xdp.info().map_err(L4Error::program(program::XDP))?.tag();
    let config = maps.config.get(&0, 0).map_err(L4Error::map(name::CONFIG))?;
    let of_ports = ServiceAddress { vip: packet.to.ip(), port: packet.to.port(), protocol: packet.protocol };
    let service = maps.service(&Key::Service(of_ports))?;
    let flow = service.map(|service| flow(&maps, &packet, &config, service.table)).transpose()?.flatten();
    let frame = pass(xdp, &packet, attached.first().map_or(0, |found| found.index))?;
    let counted = counters::verdicts(&maps)?;
    let verdict = counted.into_iter().find(|(_, packets)| *packets > 0).map(|(verdict, _)| verdict);
    let nothing = || L4Error::System { action: "see what became of the packet", source: invalid() };
    let verdict = verdict.ok_or_else(nothing)?;
    let hash = packet.tuple().map_or(0, |tuple| flow_hash(&config.key, &tuple));
    Ok(Trial {
        this: (config.member != NO_MEMBER).then_some(config.member),
        is_vip: maps.service(&Key::Vip(packet.to.ip()))?.is_some(),
        service,
        flow,
        verdict,
        sent: (verdict == Verdict::Sent).then(|| sent::read(&frame, &config.key, hash)).flatten(),
        is_held: is_held(&packet),
        is_same_program: is_same(&attached, tag, &mut object)?,
        interfaces: attached.into_iter().map(|found| found.name).collect(),
    })
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// The frame that the program leaves.
fn pass(xdp: &Xdp, packet: &Packet, index: u32) -> Result<Vec<u8>, L4Error> {
    let refused = |source| L4Error::System { action: "run a packet through the packet path", source };
    let frame = packet.frame().ok_or_else(|| refused(io::ErrorKind::InvalidInput.into()))?;
    let context = context(frame.len(), index);
    let mut left = vec![0; MAX_FRAME];
    let options = TestRunOptions {
        data_in: Some(&frame),
        data_out: Some(&mut left),
        ctx_in: Some(&context),
        ..TestRunOptions::default()
    };
    let result = xdp.test_run(options).map_err(L4Error::program(program::XDP))?;
    left.truncate(result.data_size_out as usize);
    Ok(left)
}

/// `xdp_md` of a frame of `len` bytes that came in on an interface: data, data_end, data_meta, ingress_ifindex,
/// rx_queue_index, egress_ifindex.
pub(super) fn context(len: usize, interface: u32) -> Vec<u8> {
    [0, len as u32, 0, interface, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}

fn flow(maps: &Maps, packet: &Packet, config: &Config, table: u32) -> Result<Option<Flow>, L4Error> {
    let Some(tuple) = packet.tuple() else { return Ok(None) };
    let bucket = bucket(flow_hash(&config.key, &tuple));
    let head = maps.tables.get(&table, 0).map_err(L4Error::map(name::TABLES))?;
    let rows = maps.rows.get(&head.slot, 0).map_err(L4Error::map(name::ROWS))?;
    let row = Row::from_bits(rows[bucket as usize]);
    let known = row.members().into_iter().filter(|&id| id != NO_MEMBER);
    let row = known.map(|id| Ok((id, way(maps, id)?))).collect::<Result<_, L4Error>>()?;
    Ok(Some(Flow { bucket, head, row }))
}

fn way(maps: &Maps, id: MemberId) -> Result<Way, L4Error> {
    let found: Member = maps.members.get(&id.into(), 0).map_err(L4Error::map(name::MEMBERS))?;
    let is_reachable = found.flags & member::REACHABLE != 0;
    let name = || nix::net::if_::if_indextoname(found.ifindex).ok()?.into_string().ok();
    Ok(Way { address: address_of(&found), interface: is_reachable.then(name).flatten() })
}

/// Asked of the kernel by itself: the packet path asks only where a row has several members.
fn is_held(packet: &Packet) -> Option<bool> {
    let plain = |end: SocketAddr| SocketAddr::new(end.ip(), end.port());
    let ends = (plain(packet.to), plain(packet.from));
    let connections = match packet.protocol {
        Protocol::Tcp => sockets::connections().ok()?,
        Protocol::Udp => return None,
    };
    Some(connections.iter().any(|found| (found.local, found.remote) == ends))
}

/// Whether all of them run the program that was asked here, or the one that captures, which does the same to packets.
/// Programs with one tag have the same instructions.
fn is_same(attached: &[Attached], tag: u64, object: &mut Ebpf) -> Result<Option<bool>, L4Error> {
    let ids: Vec<u32> = attached.iter().filter_map(|found| found.program).collect();
    if ids.is_empty() {
        return Ok(None);
    }
    let found = loaded_programs().flatten().filter(|program| ids.contains(&program.id()));
    let others: Vec<_> = found.filter(|program| program.tag() != tag).collect();
    // The kernel takes a moment for that one: it is looked at only if it may be there.
    if others.is_empty() || others.iter().any(|found| found.name_as_str() != Some(program::CAPTURE)) {
        return Ok(Some(others.is_empty()));
    }
    let capturing: &mut Xdp = typed(object, program::CAPTURE)?;
    capturing.load().map_err(L4Error::program(program::CAPTURE))?;
    let tag = capturing.info().map_err(L4Error::program(program::CAPTURE))?.tag();
    Ok(Some(others.iter().all(|found| found.tag() == tag)))
}
