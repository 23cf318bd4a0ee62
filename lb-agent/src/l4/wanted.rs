//! What the kernel should hold for a snapshot: pure, and without the ways to members, which `reach` adds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::map::{Config, Member, config, member};
use lb_common::row::{MemberId, NO_MEMBER};
use lb_common::service_table::{ServiceKey4, ServiceKey6};

use super::keys::Keys;
use super::maglev::Table;
use crate::model::{self, Protocol, ServiceAddress, Snapshot};

/// The one backend set there is until L4 Services are built: the members that run the proxy.
pub const INGRESS_TABLE: u32 = 0;

/// What this node adds to a snapshot.
#[derive(Clone, Debug)]
pub struct Local {
    /// The Node's name.
    pub node: String,
    /// The secrets of flow hash and tag.
    pub keys: Keys,
    /// This edgelb cluster's id on the network.
    pub cluster: u32,
    /// UDP port of the encapsulation.
    pub port: u16,
}

/// A key of the service maps: a service, or a VIP itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Key {
    /// The VIP itself.
    Vip(IpAddr),
    /// One of its ports.
    Service(ServiceAddress),
}

/// What the packet path needs to know of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its table.
    pub table: u32,
    /// `service::*` bits.
    pub flags: u32,
}

/// How a member is reached from here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reach {
    /// The interface towards it.
    pub interface: u32,
    /// That interface's MAC address.
    pub source: [u8; 6],
    /// The next hop's MAC address.
    pub next_hop: [u8; 6],
    /// This node's own address on that way.
    pub local: Option<IpAddr>,
    /// Bytes of the largest IP packet on the way.
    pub mtu: u16,
}

/// The state that the maps should have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The configuration.
    pub config: Config,
    /// Services and VIPs.
    pub services: BTreeMap<Key, Target>,
    /// Members other than this node's own, and it.
    pub members: BTreeMap<MemberId, Member>,
    /// Rows by table.
    pub tables: BTreeMap<u32, Arc<Table>>,
    /// The snapshot's generation.
    pub generation: u64,
}

impl Wanted {
    /// What `snapshot` asks for on this node, with the table of its members and what is known of the ways
    /// to them.
    #[must_use]
    pub fn new(
        snapshot: &Snapshot,
        table: Arc<Table>,
        local: &Local,
        reach: &BTreeMap<IpAddr, Reach>,
    ) -> Self {
        Self::with_members(snapshot, &snapshot.members, &BTreeSet::new(), table, local, reach)
    }

    /// As `new`, with the members that may own flows where they are not the snapshot's alone, and those that are down.
    #[must_use]
    pub fn with_members(
        snapshot: &Snapshot,
        members: &BTreeMap<String, model::Member>,
        down: &BTreeSet<MemberId>,
        table: Arc<Table>,
        local: &Local,
        reach: &BTreeMap<IpAddr, Reach>,
    ) -> Self {
        // Where all are down, rows are as if none were.
        let is_any_up = members.values().any(|member| !down.contains(&member.id));
        let member = |m: &model::Member| {
            let mut found = member_of(m.address, reach.get(&m.address));
            if is_any_up && down.contains(&m.id) {
                found.flags |= member::DOWN;
            }
            (m.id, found)
        };
        Self {
            config: config_of(members, local, reach),
            services: services(snapshot),
            members: members.values().map(member).collect(),
            tables: BTreeMap::from([(INGRESS_TABLE, table)]),
            generation: snapshot.generation,
        }
    }
}

impl Wanted {
    /// Leaves the rows as they are, and the members that they may name: who is down is passed over in rows that have
    /// others for it, until there are rows without.
    pub fn keep_rows(&mut self, installed: &BTreeMap<MemberId, Member>) {
        self.tables.clear();
        for (&id, member) in installed {
            self.members.entry(id).or_insert(*member).flags |= member.flags & member::DOWN;
        }
    }
}

/// Addresses to which this node needs a way.
#[must_use]
pub fn peers(members: &BTreeMap<String, model::Member>, node: &str) -> BTreeSet<IpAddr> {
    members.values().filter(|member| member.name != node).map(|member| member.address).collect()
}

fn config_of(
    members: &BTreeMap<String, model::Member>,
    local: &Local,
    reach: &BTreeMap<IpAddr, Reach>,
) -> Config {
    let this = members.get(&local.node);
    // A node that is no member, or not any more, is still a first hop for what the router sends it.
    let towards_members = || reach.values().find_map(|reach| reach.local);
    let (local_v4, local_v6) = match this.map(|member| member.address).or_else(towards_members) {
        Some(IpAddr::V4(address)) => (u32::from_ne_bytes(address.octets()), [0; 2]),
        Some(IpAddr::V6(address)) => (0, words(address.octets())),
        None => (0, [0; 2]),
    };
    local.keys.set(Config {
        local_v4,
        cluster: local.cluster,
        local_v6,
        member: this.map_or(NO_MEMBER, |member| member.id),
        port: local.port.to_be(),
        flags: config::READY,
        ..Config::default()
    })
}

fn services(snapshot: &Snapshot) -> BTreeMap<Key, Target> {
    use lb_common::map::service::{LISTENER, VIP};
    let vips = snapshot.vips.iter().map(|&vip| (Key::Vip(vip), Target { table: 0, flags: VIP }));
    let services = snapshot.services.iter().map(|(&address, service)| {
        let flags = if service.has_listener { LISTENER } else { 0 };
        (Key::Service(address), Target { table: INGRESS_TABLE, flags })
    });
    vips.chain(services).collect()
}

fn member_of(address: IpAddr, reach: Option<&Reach>) -> Member {
    let (address, family) = match address {
        IpAddr::V4(address) => ([u64::from(u32::from_ne_bytes(address.octets())), 0], 0),
        IpAddr::V6(address) => (words(address.octets()), member::V6),
    };
    let known = Member { address, flags: member::KNOWN | family, ..Member::default() };
    match reach {
        None => known,
        Some(reach) => Member {
            next_hop: reach.next_hop,
            source: reach.source,
            ifindex: reach.interface,
            mtu: reach.mtu,
            flags: known.flags | member::REACHABLE,
            ..known
        },
    }
}

/// The address of a member, if it is known.
pub(super) fn address_of(found: &Member) -> Option<IpAddr> {
    let [first, _] = found.address;
    match found.flags {
        flags if flags & member::KNOWN == 0 => None,
        flags if flags & member::V6 != 0 => Some(octets(found.address).into()),
        _ => Some((first as u32).to_ne_bytes().into()),
    }
}

/// An IPv6 address as two words in network order, as the kernel side loads them.
pub(super) fn words(octets: [u8; 16]) -> [u64; 2] {
    let [low, high] = [&octets[..8], &octets[8..]];
    [low, high].map(|half| u64::from_ne_bytes(half.try_into().expect("half of 16 bytes")))
}

/// A key as one of the two service maps spells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapKey {
    /// Of `SERVICES4`.
    V4(ServiceKey4),
    /// Of `SERVICES6`.
    V6(ServiceKey6),
}

/// Spells a key for its map.
#[must_use]
pub fn map_key(key: &Key) -> MapKey {
    let (vip, port, protocol) = parts(key);
    match vip {
        IpAddr::V4(vip) => MapKey::V4(ServiceKey4::new(u32::from_ne_bytes(vip.octets()), port, protocol)),
        IpAddr::V6(vip) => MapKey::V6(ServiceKey6::new(words(vip.octets()), port, protocol)),
    }
}

/// VIP, port in network order and protocol number of a key, as the maps spell them.
fn parts(key: &Key) -> (IpAddr, u16, u8) {
    match *key {
        Key::Vip(vip) => (vip, 0, 0),
        Key::Service(ServiceAddress { vip, port, protocol }) => (vip, port.to_be(), protocol.number()),
    }
}

/// The key that a map spells so; `None` for a free slot, and for a protocol that no service has.
#[must_use]
pub fn key_of(key: &MapKey) -> Option<Key> {
    let (vip, port, protocol) = match key {
        MapKey::V4(key) => {
            let (vip, port, protocol) = key.parts()?;
            (IpAddr::from(vip.to_ne_bytes()), port, protocol)
        }
        MapKey::V6(key) => {
            let (vip, port, protocol) = key.parts()?;
            (IpAddr::from(octets(vip)), port, protocol)
        }
    };
    if port == 0 && protocol == 0 {
        return Some(Key::Vip(vip));
    }
    let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|known| known.number() == protocol)?;
    Some(Key::Service(ServiceAddress { vip, port: u16::from_be(port), protocol }))
}

fn octets([low, high]: [u64; 2]) -> [u8; 16] {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&low.to_ne_bytes());
    octets[8..].copy_from_slice(&high.to_ne_bytes());
    octets
}
