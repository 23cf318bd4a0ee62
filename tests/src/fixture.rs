//! A small cluster as packet tests and benchmarks see it from one of its nodes: three members, a VIP of each
//! family with two HTTP ports and a UDP port that nothing serves.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use lb_agent::l4::keys::{self, Keys};
use lb_agent::l4::maglev;
use lb_agent::l4::wanted::{Key, Local, Reach, Wanted};
use lb_agent::model::{Kind, Member, ObjectRef, Protocol, Service, ServiceAddress, Snapshot};
use lb_common::encap::DEFAULT_PORT;
use lb_common::hash::{Ports, Tuple, flow_hash};
use lb_common::map::service;
use lb_common::row::{MemberId, Row, bucket};

use crate::packet::{NODE_MAC, ROUTER_MAC};

/// The IPv4 VIP.
pub const VIP4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
/// The IPv6 VIP.
pub const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0x10));
/// An IPv4 client.
pub const CLIENT4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// An IPv6 client.
pub const CLIENT6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7));

/// This node's id.
pub const THIS: MemberId = 1;
/// A member on the other side of the interface that packets come in on.
pub const NEAR: MemberId = 2;
/// A member on the other side of another interface.
pub const FAR: MemberId = 3;

/// The interface that test runs come in on: the kernel takes the loopback's.
pub const INGRESS: u32 = 1;
/// Another interface's index.
pub const OTHER_INTERFACE: u32 = 9;

/// This edgelb cluster's id.
pub const CLUSTER: u32 = 7;

/// The secret of flow hash and tag.
pub const SECRET: &[u8] = b"a secret of the packet tests";

/// The family of members' addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outer {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A member's outer address.
#[must_use]
pub fn address(outer: Outer, id: MemberId) -> IpAddr {
    match outer {
        Outer::V4 => Ipv4Addr::new(198, 51, 100, 10 + id as u8).into(),
        Outer::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xed, 0, 0, 0, 0, id).into(),
    }
}

/// The cluster's state.
#[must_use]
pub fn snapshot(outer: Outer) -> Snapshot {
    let members = [THIS, NEAR, FAR].map(|id| {
        let name = format!("edge-{id}");
        (name.clone(), Member { name, id, address: address(outer, id), weight: 100 })
    });
    let object = ObjectRef::new(Kind::Service, "edgelb", "ingress");
    let services = [VIP4, VIP6].into_iter().flat_map(|vip| {
        let service = |port, protocol, has_listener| {
            (ServiceAddress { vip, port, protocol }, Service { object: object.clone(), has_listener })
        };
        [
            service(80, Protocol::Tcp, true),
            service(443, Protocol::Tcp, true),
            service(443, Protocol::Udp, true),
            service(53, Protocol::Udp, false),
        ]
    });
    Snapshot {
        generation: 1,
        members: members.into(),
        vips: [VIP4, VIP6].into(),
        services: services.collect(),
        ..Snapshot::default()
    }
}

/// What the node adds to it.
#[must_use]
pub fn local() -> Local {
    Local {
        node: "edge-1".into(),
        keys: Keys::only(keys::derive(SECRET)),
        cluster: CLUSTER,
        port: DEFAULT_PORT,
    }
}

/// What the maps of the node `edge-1` hold.
#[must_use]
pub fn wanted(outer: Outer) -> Wanted {
    wanted_of(&snapshot(outer), outer)
}

/// What they hold for a snapshot like the fixture's.
#[must_use]
pub fn wanted_of(snapshot: &Snapshot, outer: Outer) -> Wanted {
    let way = |interface| Reach { interface, source: NODE_MAC, next_hop: ROUTER_MAC, local: None, mtu: 1500 };
    let reach =
        BTreeMap::from([(address(outer, NEAR), way(INGRESS)), (address(outer, FAR), way(OTHER_INTERFACE))]);
    let table = Arc::new(maglev::fill(snapshot.members.values()));
    Wanted::new(snapshot, table, &local(), &reach)
}

/// What the maps hold if every bucket has the same row.
#[must_use]
pub fn wanted_row(outer: Outer, row: [MemberId; 3]) -> Wanted {
    let mut wanted = wanted(outer);
    for table in wanted.tables.values_mut() {
        let rows = vec![Row::new(row).bits(); table.rows.len()].into();
        // Of equal rows any number is as good a digest as their hash.
        *table = Arc::new(maglev::Table { rows, digest: Row::new(row).bits() });
    }
    wanted
}

/// The secret that takes the other one's place.
pub const NEXT_SECRET: &[u8] = b"the next secret of the packet tests";

/// The keys of a node, step by step, while the next secret takes the place of the fixture's.
#[must_use]
pub fn roll_over() -> [Keys; 4] {
    let [former, next] = [SECRET, NEXT_SECRET].map(keys::derive);
    let two = |in_force, other| Keys { in_force, other: Some(other) };
    [Keys::only(former), two(former, next), two(next, former), Keys::only(next)]
}

/// The same state by other flow keys.
#[must_use]
pub fn by_keys(mut wanted: Wanted, keys: Keys) -> Wanted {
    wanted.config = keys.set(wanted.config);
    wanted
}

/// The same state, but that UDP clients of services with a listener speak QUIC.
#[must_use]
pub fn with_quic(mut wanted: Wanted) -> Wanted {
    for (key, target) in &mut wanted.services {
        let is_udp = matches!(key, Key::Service(address) if address.protocol == Protocol::Udp);
        if is_udp && target.flags & service::LISTENER != 0 {
            target.flags |= service::QUIC;
        }
    }
    wanted
}

/// A flow's identity as the packet path sees it.
#[must_use]
pub fn tuple(source: IpAddr, destination: IpAddr, protocol: u8, from: u16, to: u16) -> Tuple {
    let ports = Ports { source: from.to_be(), destination: to.to_be(), protocol };
    let words = |octets: [u8; 16]| {
        let (low, high) = octets.split_at(8);
        [low, high].map(|half| u64::from_ne_bytes(half.try_into().expect("8 bytes")))
    };
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Tuple::V4 {
            source: u32::from_ne_bytes(source.octets()),
            destination: u32::from_ne_bytes(destination.octets()),
            ports,
        },
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Tuple::V6 { source: words(source.octets()), destination: words(destination.octets()), ports }
        }
        _ => panic!("addresses of two families"),
    }
}

/// The first source port from 40000 on whose flow to `destination` has the wanted opener.
#[must_use]
pub fn port_owned_by(
    wanted: &Wanted,
    owner: MemberId,
    client: IpAddr,
    vip: IpAddr,
    protocol: u8,
    to: u16,
) -> u16 {
    let table = wanted.tables.values().next().expect("a table");
    (40_000..=u16::MAX)
        .find(|&from| {
            let hash = flow_hash(&wanted.config.key, &tuple(client, vip, protocol, from, to));
            Row::from_bits(table.rows[bucket(hash) as usize]).opener() == owner
        })
        .expect("each member owns some of 25,000 flows")
}
