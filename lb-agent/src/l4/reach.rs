//! The way from this node to each member: route, interface, next hop's MAC address, MTU. The kernel's own
//! tables are asked; XDP then needs no look-up of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures_util::TryStreamExt;
use lb_common::encap::{OVERHEAD_V4, OVERHEAD_V6};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteVia};
use rtnetlink::{Handle, RouteMessageBuilder};
use tracing::debug;

use super::L4Error;
use super::interface::{self, Interface};
use super::netlink::Change;
use super::wanted::Reach;

/// A neighbour: interface and address.
type Neighbour = (u32, IpAddr);

/// What is known of the ways to members, and what that stands on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways {
    /// The way to each member that can be reached.
    pub(crate) reach: BTreeMap<IpAddr, Reach>,
    /// Bytes of the largest IP packet that the interface towards each of them takes: further on it may be less.
    pub(crate) link_mtu: BTreeMap<IpAddr, u16>,
    /// Those that were asked for.
    pub(crate) peers: BTreeSet<IpAddr>,
    /// Next hops, resolved or not.
    neighbours: BTreeSet<Neighbour>,
}

impl Ways {
    /// Whether they may be others after a change: on a busy node most changes concern pods.
    pub(crate) fn stand_on(&self, change: &Change) -> bool {
        match change {
            Change::Interface { index, .. } => {
                self.neighbours.iter().any(|(interface, _)| interface == index)
            }
            Change::Neighbour { interface, address } => self.neighbours.contains(&(*interface, *address)),
            Change::Route { to: None } => !self.peers.is_empty(),
            Change::Route { to: Some(prefix) } => self.peers.iter().any(|peer| prefix.contains(peer)),
            Change::Missed => true,
        }
    }

    /// Bytes of a client's largest packet that all of them take; 0 if there is none.
    pub(crate) fn inner_mtu(&self) -> u16 {
        let rooms = self.reach.iter().map(|(peer, way)| way.mtu.saturating_sub(overhead(*peer)));
        rooms.min().unwrap_or_default()
    }
}

/// Bytes by which a packet gets longer on its way to a member.
fn overhead(peer: IpAddr) -> u16 {
    let bytes = if peer.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 };
    bytes as u16
}

/// The ways to those of `peers` that are known now. For the others the kernel is asked to resolve the next
/// hop and to keep it resolved (`NTF_EXT_MANAGED`, Linux 5.16): XDP's packets alone would let it go stale.
pub(crate) async fn resolve(netlink: &Handle, peers: BTreeSet<IpAddr>) -> Result<Ways, L4Error> {
    let interfaces: BTreeMap<_, _> =
        interface::list(netlink).await?.into_iter().map(|interface| (interface.index, interface)).collect();
    let table = neighbours(netlink).await?;
    let (mut reach, mut link_mtu, mut neighbours) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    for &peer in &peers {
        let Some(route) = route(netlink, peer).await else { continue };
        let Some(interface) = interfaces.get(&route.interface) else { continue };
        let neighbour = (route.interface, route.gateway.unwrap_or(peer));
        neighbours.insert(neighbour);
        let known = table.get(&neighbour);
        if !known.is_some_and(|known| known.is_managed) {
            manage(netlink, neighbour).await;
        }
        if let Some(found) = known.and_then(|known| known.reach(interface, &route)) {
            reach.insert(peer, found);
            link_mtu.insert(peer, bytes(interface.mtu));
        }
    }
    Ok(Ways { reach, link_mtu, peers, neighbours })
}

/// The interface by which packets leave for `peer`; `None` if there is no route to it.
pub(crate) async fn outlet(netlink: &Handle, peer: IpAddr) -> Option<u32> {
    route(netlink, peer).await.map(|route| route.interface)
}

/// A route as `ip route get` shows it.
struct Route {
    interface: u32,
    gateway: Option<IpAddr>,
    /// This node's address towards it.
    local: Option<IpAddr>,
    mtu: Option<u32>,
}

/// `None` if there is no route to it, which may change.
async fn route(netlink: &Handle, peer: IpAddr) -> Option<Route> {
    let request = RouteMessageBuilder::<IpAddr>::new().destination_prefix(peer, prefix_len(peer)).ok()?;
    let message = netlink.route().get(request.build()).execute().try_next().await;
    match message {
        Ok(message) => Route::of(message?),
        Err(error) => {
            debug!(%peer, %error, "no route");
            None
        }
    }
}

impl Route {
    fn of(message: RouteMessage) -> Option<Self> {
        let mut route = Self { interface: 0, gateway: None, local: None, mtu: None };
        for attribute in message.attributes {
            match attribute {
                RouteAttribute::Oif(index) => route.interface = index,
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => route.gateway = gateway(&attribute),
                RouteAttribute::PrefSource(RouteAddress::Inet(address)) => route.local = Some(address.into()),
                RouteAttribute::PrefSource(RouteAddress::Inet6(address)) => {
                    route.local = Some(address.into())
                }
                RouteAttribute::Metrics(metrics) => {
                    route.mtu = metrics.into_iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) => Some(mtu),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        (route.interface != 0).then_some(route)
    }
}

/// The gateway that an attribute of a route names: of IPv4 routes, it may have an address of IPv6.
pub(super) fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address))
        | RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
        RouteAttribute::Gateway(RouteAddress::Inet6(address))
        | RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
        _ => None,
    }
}

/// What the kernel's neighbour table says.
#[derive(Clone, Copy)]
struct Known {
    mac: Option<[u8; 6]>,
    is_managed: bool,
}

impl Known {
    fn reach(&self, interface: &Interface, route: &Route) -> Option<Reach> {
        let mtu = route.mtu.filter(|&mtu| mtu != 0).map_or(interface.mtu, |mtu| mtu.min(interface.mtu));
        Some(Reach {
            interface: interface.index,
            source: interface.mac?,
            next_hop: self.mac?,
            local: route.local,
            mtu: bytes(mtu),
        })
    }
}

/// No IP packet has more.
fn bytes(mtu: u32) -> u16 {
    mtu.try_into().unwrap_or(u16::MAX)
}

async fn neighbours(netlink: &Handle) -> Result<BTreeMap<Neighbour, Known>, L4Error> {
    let messages = netlink.neighbours().get().execute().try_collect::<Vec<_>>().await;
    let messages = messages.map_err(L4Error::netlink("list the neighbours"))?;
    Ok(messages.into_iter().filter_map(known).collect())
}

fn known(message: NeighbourMessage) -> Option<(Neighbour, Known)> {
    let mut address = None;
    let mut known = Known { mac: None, is_managed: false };
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => address = Some(found.into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => address = Some(found.into()),
            NeighbourAttribute::LinkLayerAddress(mac) => known.mac = mac.try_into().ok(),
            NeighbourAttribute::ExtFlags(flags) => {
                known.is_managed = flags.contains(NeighbourExtFlags::Managed);
            }
            _ => {}
        }
    }
    let is_usable = !matches!(message.header.state, NeighbourState::Failed | NeighbourState::Incomplete);
    known.mac = known.mac.filter(|_| is_usable);
    Some(((message.header.ifindex, address?), known))
}

/// A failure is not an error: the entry may be permanent, or the kernel older.
pub(crate) async fn manage(netlink: &Handle, (interface, address): Neighbour) {
    let mut request = netlink.neighbours().add(interface, address).state(NeighbourState::None).replace();
    request.message_mut().attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
    if let Err(error) = request.execute().await {
        debug!(%address, interface, %error, "the kernel does not manage the neighbour");
    }
}

/// The prefix of a single address, in bits.
pub(crate) fn prefix_len(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPLINK: u32 = 2;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// One member on the link, one behind a gateway, one without a route.
    fn ways() -> Ways {
        Ways {
            reach: BTreeMap::new(),
            link_mtu: BTreeMap::new(),
            peers: ["192.0.2.2", "198.51.100.7", "2001:db8::7"].map(address).into(),
            neighbours: ["192.0.2.2", "192.0.2.1"].map(|hop| (UPLINK, address(hop))).into(),
        }
    }

    #[test]
    fn the_smallest_way_says_what_fits() {
        let way = |mtu| Reach { interface: UPLINK, source: [2; 6], next_hop: [2; 6], local: None, mtu };
        for (found, expected) in [
            (&[][..], 0),
            (&[("192.0.2.2", 1500)], 1452),
            (&[("192.0.2.2", 1500), ("198.51.100.7", 1300)], 1252),
            (&[("192.0.2.2", 1500), ("2001:db8::7", 1500)], 1432),
            (&[("192.0.2.2", 40)], 0),
        ] {
            let reach = found.iter().map(|&(peer, mtu)| (address(peer), way(mtu))).collect();
            assert_eq!(Ways { reach, ..ways() }.inner_mtu(), expected, "{found:?}");
        }
    }

    #[test]
    fn only_changes_on_the_way_to_a_member_matter() {
        let neighbour = |interface, hop| Change::Neighbour { interface, address: address(hop) };
        let route = |to: &str| Change::Route { to: Some(to.parse().expect("a prefix")) };
        let interface = |index| Change::Interface { index, name: None };
        for (change, expected) in [
            (neighbour(UPLINK, "192.0.2.2"), true),
            (neighbour(UPLINK, "192.0.2.1"), true),
            (neighbour(UPLINK, "192.0.2.9"), false),
            (neighbour(3, "192.0.2.2"), false),
            (route("198.51.100.0/24"), true),
            (route("2001:db8::/32"), true),
            (route("203.0.113.0/24"), false),
            (Change::Route { to: None }, true),
            (interface(UPLINK), true),
            (interface(77), false),
            (Change::Missed, true),
        ] {
            assert_eq!(ways().stand_on(&change), expected, "{change:?}");
            assert_eq!(Ways::default().stand_on(&change), change == Change::Missed, "{change:?}, alone");
        }
    }
}
