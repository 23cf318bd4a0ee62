//! The gateways of this node's default routes, and whether they answer, as the kernel knows it.

use std::iter;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use tracing::debug;

use crate::l4::error::L4Error;
use crate::l4::{netlink, reach};

/// What the kernel knows of a gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Known {
    /// It answered lately, or is being asked.
    Perhaps,
    /// It does not answer.
    Silent,
}

/// What is known of a gateway now; the kernel is told to find out.
pub(super) async fn ask(netlink: &Handle, interface: u32, gateway: IpAddr) -> Result<Known, L4Error> {
    let all = netlink.neighbours().get().execute().try_collect::<Vec<_>>().await;
    let is_it = |attribute: &NeighbourAttribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => gateway == *found,
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => gateway == *found,
        _ => false,
    };
    let all = all.map_err(L4Error::netlink("list the neighbours"))?;
    let found = all
        .iter()
        .find(|found| found.header.ifindex == interface && found.attributes.iter().any(is_it))
        .map(|found| found.header.state);
    Ok(match found {
        Some(NeighbourState::Failed | NeighbourState::Incomplete) => {
            // Else nobody would notice that it is back.
            reach::manage(netlink, (interface, gateway)).await;
            Known::Silent
        }
        None => {
            reach::manage(netlink, (interface, gateway)).await;
            Known::Perhaps
        }
        // On its way to an answer of either kind: three solicitations, a second apart.
        Some(NeighbourState::Probe | NeighbourState::Permanent | NeighbourState::Noarp) => Known::Perhaps,
        _ => {
            let request = netlink.neighbours().add(interface, gateway).state(NeighbourState::Probe).replace();
            if let Err(error) = request.execute().await {
                debug!(%gateway, %error, "the kernel does not ask for the gateway");
            }
            Known::Perhaps
        }
    })
}

/// Gateways of the default routes, with their interfaces.
pub(super) async fn gateways_of(handle: &Handle) -> Result<Vec<(u32, IpAddr)>, L4Error> {
    let routes = netlink::routes(handle).await?;
    let defaults = routes.iter().filter(|route| route.header.destination_prefix_length == 0);
    Ok(defaults.flat_map(hops_of).collect())
}

/// One, or those of several paths.
fn hops_of(route: &RouteMessage) -> Vec<(u32, IpAddr)> {
    let interface = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    let paths = route.attributes.iter().filter_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    let paths = paths.flatten().map(|hop| (Some(hop.interface_index), &hop.attributes));
    let all = iter::once((interface, &route.attributes)).chain(paths);
    all.filter_map(|(interface, attributes)| Some((interface?, attributes.iter().find_map(reach::gateway)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::route::{RouteAddress, RouteNextHop, RouteVia};

    use super::*;

    fn route(attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut route = RouteMessage::default();
        route.attributes = attributes;
        route
    }

    #[test]
    fn each_path_of_a_route_has_its_gateway() {
        let [first, second] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(std::net::Ipv4Addr::from);
        let via = std::net::Ipv6Addr::from(0xfe80_u128 << 112 | 1);
        let gateway = |address| RouteAttribute::Gateway(RouteAddress::Inet(address));
        let hop = |interface, attribute| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = interface;
            hop.attributes = vec![attribute];
            hop
        };
        assert_eq!(hops_of(&route(vec![RouteAttribute::Oif(3), gateway(first)])), [(3, first.into())]);
        assert_eq!(hops_of(&route(vec![RouteAttribute::Oif(3)])), [], "everybody is on the link");
        let paths = vec![hop(3, gateway(first)), hop(4, gateway(second))];
        assert_eq!(
            hops_of(&route(vec![RouteAttribute::MultiPath(paths)])),
            [(3, first.into()), (4, second.into())]
        );
        let other_family = vec![RouteAttribute::Oif(3), RouteAttribute::Via(RouteVia::Inet6(via))];
        assert_eq!(hops_of(&route(other_family)), [(3, via.into())]);
    }
}
