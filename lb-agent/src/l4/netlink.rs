//! Connections to the kernel's routing netlink.

use std::net::IpAddr;

use futures_util::{Stream, StreamExt, TryStreamExt as _};
use ipnet::IpNet;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, MulticastGroup};

use super::L4Error;

const OPEN: &str = "open a netlink socket";

/// A connection for requests. Its driver is a task of the current runtime.
pub(crate) fn connect() -> Result<Handle, L4Error> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|source| L4Error::System { action: OPEN, source })?;
    tokio::spawn(connection);
    Ok(handle)
}

/// All routes, of both families.
pub(super) async fn routes(netlink: &Handle) -> Result<Vec<RouteMessage>, L4Error> {
    let mut all = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut filter = RouteMessage::default();
        filter.header.address_family = family;
        let routes = netlink.route().get(filter).execute().try_collect::<Vec<_>>().await;
        all.extend(routes.map_err(L4Error::netlink("list the routes"))?);
    }
    Ok(all)
}

/// What changed in the kernel's tables: enough to tell whether it matters here, and no more. What it is now
/// must be looked up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// An interface came, went or is another; its name where the kernel told it.
    Interface { index: u32, name: Option<String> },
    /// What is known of a neighbour.
    Neighbour { interface: u32, address: IpAddr },
    /// A route to all addresses of a prefix; `None` for the default route.
    Route { to: Option<IpNet> },
    /// The kernel had to drop some changes.
    Missed,
}

/// Changes of links, addresses, routes and neighbours from now on.
pub(crate) fn changes() -> Result<impl Stream<Item = Change> + Unpin, L4Error> {
    const GROUPS: [MulticastGroup; 6] = [
        MulticastGroup::Link,
        MulticastGroup::Neigh,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ];
    let (connection, _, messages) = rtnetlink::new_multicast_connection(&GROUPS)
        .map_err(|source| L4Error::System { action: OPEN, source })?;
    tokio::spawn(connection);
    Ok(messages.filter_map(|(message, _)| std::future::ready(change(message))))
}

fn change(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<Change> {
    let message = match message.payload {
        NetlinkPayload::InnerMessage(message) => message,
        NetlinkPayload::Overrun(_) => return Some(Change::Missed),
        _ => return None,
    };
    match message {
        RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) => Some(of_link(link)),
        RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address) => {
            Some(Change::Interface { index: address.header.index, name: None })
        }
        RouteNetlinkMessage::NewNeighbour(neighbour) | RouteNetlinkMessage::DelNeighbour(neighbour) => {
            of_neighbour(&neighbour)
        }
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => Some(of_route(&route)),
        _ => None,
    }
}

fn of_link(link: LinkMessage) -> Change {
    let name = link.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    });
    Change::Interface { index: link.header.index, name }
}

fn of_neighbour(neighbour: &NeighbourMessage) -> Option<Change> {
    let address = neighbour.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some((*address).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some((*address).into()),
        _ => None,
    })?;
    Some(Change::Neighbour { interface: neighbour.header.ifindex, address })
}

fn of_route(route: &RouteMessage) -> Change {
    let to = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::from(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::from(*address)),
        _ => None,
    });
    let length = route.header.destination_prefix_length;
    Change::Route { to: to.and_then(|to| IpNet::new(to, length).ok()) }
}
