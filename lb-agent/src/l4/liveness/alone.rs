//! Whether this node is alone: no peer answers, and it is its own link that is to blame. If a gateway answers,
//! the peers are gone and this node serves everything; if not, others do, and it must not attract packets.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::Outlook;
use crate::l4::error::L4Error;
use crate::l4::{interface, netlink, reach};
use crate::model::{PeerState, Peers};

/// The kernel's tables are asked this often, while no peer answers.
const EVERY: Duration = Duration::from_millis(500);

/// Tells the outlook for as long as it is polled.
///
/// # Errors
/// `L4Error` if there is no netlink.
pub async fn watch_alone(outlook: &Outlook, uplinks: Vec<String>) -> Result<(), L4Error> {
    let netlink = netlink::connect()?;
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let is_unheard = is_unheard(&outlook.peers.borrow());
        let is_alone = match is_unheard {
            false => false,
            true => is_cut_off(&netlink, &uplinks).await.unwrap_or_else(|error| {
                debug!(%error, "not known whether the gateway answers");
                *outlook.alone.borrow()
            }),
        };
        match (outlook.set_alone(is_alone), is_alone) {
            (true, true) => warn!("this node is alone: no member answers, nor does its gateway or link"),
            (true, false) => info!("this node is not alone any more"),
            (false, _) => {}
        }
    }
}

/// Whether there are peers, and all of them are down.
fn is_unheard(peers: &Peers) -> bool {
    !peers.all.is_empty() && peers.all.iter().all(|peer| peer.state == PeerState::Down)
}

/// What the kernel knows of a gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    /// It answered lately, or is being asked.
    Perhaps,
    /// It does not answer.
    Silent,
}

async fn is_cut_off(netlink: &Handle, uplinks: &[String]) -> Result<bool, L4Error> {
    let links = interface::list(netlink).await?;
    let links: Vec<_> = links.into_iter().filter(|link| uplinks.contains(&link.name)).collect();
    if !links.iter().any(|link| link.has_carrier) {
        return Ok(true);
    }
    let indices: Vec<_> = links.iter().filter(|link| link.has_carrier).map(|link| link.index).collect();
    let mut gateways = Vec::new();
    for (index, gateway) in gateways_of(netlink).await? {
        if indices.contains(&index) {
            gateways.push(ask(netlink, index, gateway).await?);
        }
    }
    Ok(all_silent(&gateways))
}

/// Without a gateway there is nobody whose silence would tell.
fn all_silent(gateways: &[Known]) -> bool {
    !gateways.is_empty() && gateways.iter().all(|known| *known == Known::Silent)
}

/// What is known of a gateway now; the kernel is told to find out.
async fn ask(netlink: &Handle, interface: u32, gateway: IpAddr) -> Result<Known, L4Error> {
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
async fn gateways_of(netlink: &Handle) -> Result<Vec<(u32, IpAddr)>, L4Error> {
    let mut gateways = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut filter = RouteMessage::default();
        filter.header.address_family = family;
        let routes = netlink.route().get(filter).execute().try_collect::<Vec<_>>().await;
        let routes = routes.map_err(L4Error::netlink("list the routes"))?;
        let defaults = routes.iter().filter(|route| route.header.destination_prefix_length == 0);
        gateways.extend(defaults.filter_map(gateway_of));
    }
    Ok(gateways)
}

fn gateway_of(route: &RouteMessage) -> Option<(u32, IpAddr)> {
    let (mut interface, mut gateway) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(IpAddr::from(*address)),
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) => gateway = Some(IpAddr::from(*address)),
            _ => {}
        }
    }
    Some((interface?, gateway?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gateway_that_may_answer_is_enough() {
        for (gateways, expected) in [
            (&[][..], false),
            (&[Known::Silent], true),
            (&[Known::Silent, Known::Perhaps], false),
            (&[Known::Silent, Known::Silent], true),
        ] {
            assert_eq!(all_silent(gateways), expected, "{gateways:?}");
        }
    }
}
