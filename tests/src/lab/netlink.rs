//! Links, addresses and routes of the lab's namespaces, by netlink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkXdp};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteNextHop, RouteScope,
};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder, RouteNextHopBuilder,
    new_connection,
};

use super::namespace::Namespace;

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// Its name there.
    pub interface: &'a str,
}

/// A veth pair between two namespaces, both ends without addresses and down.
///
/// # Errors
/// If one of the names is taken, or without CAP_NET_ADMIN.
pub fn connect(near: &Namespace, near_interface: &str, far: &Namespace, far_interface: &str) -> Result<()> {
    pair(End { namespace: near, interface: near_interface }, End { namespace: far, interface: far_interface })
}

/// Adds a host address (/32 or /128) to an interface.
///
/// # Errors
/// If there is no such interface, or it has the address.
pub fn add_address(namespace: &Namespace, interface: &str, address: IpAddr) -> Result<()> {
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    configure(End { namespace, interface }, &[(address, prefix)])
}

/// Makes a veth pair.
pub(crate) fn pair(near: End<'_>, far: End<'_>) -> Result<()> {
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(far.interface)
        .setns_by_fd(far.namespace.as_fd().as_raw_fd())
        .build();
    let link = LinkMessageBuilder::<LinkVeth>::new(near.interface, far.interface)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    request(near.namespace, async |handle| Ok(handle.link().add(link).execute().await?))
        .with_context(|| format!("veth {} -- {}", near.interface, far.interface))
}

/// Makes an interface the port of a new bridge, which is down; addresses and routes of the port are gone.
pub(crate) fn bridge_over(port: End<'_>, bridge: &str) -> Result<()> {
    request(port.namespace, async |handle| {
        handle.link().add(LinkBridge::new(bridge).build()).execute().await?;
        let (above, below) = (index(&handle, bridge).await?, index(&handle, port.interface).await?);
        // Its routes go with it, and its IPv6 addresses.
        set_state(&handle, below, false).await?;
        let addresses = handle.address().get().set_link_index_filter(below).execute();
        for address in addresses.try_collect::<Vec<_>>().await? {
            handle.address().del(address).execute().await?;
        }
        let message = LinkUnspec::new_with_index(below).controller(above).build();
        handle.link().set(message).execute().await?;
        set_state(&handle, below, true).await
    })
    .with_context(|| format!("bridge {bridge} over {} of {}", port.interface, port.namespace.name()))
}

/// Removes the default routes.
///
/// # Errors
/// If there is not one of each family.
pub fn remove_default_routes(namespace: &Namespace) -> Result<()> {
    request(namespace, async |handle| {
        for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            handle.route().del(bare(any, 0)).execute().await?;
        }
        Ok(())
    })
    .with_context(|| format!("default routes of {}", namespace.name()))
}

/// Gives an interface its addresses (usable at once: no duplicate address detection) and takes it up.
pub(crate) fn configure(end: End<'_>, addresses: &[(IpAddr, u8)]) -> Result<()> {
    request(end.namespace, async |handle| {
        let index = index(&handle, end.interface).await?;
        for &(address, prefix) in addresses {
            let mut add = handle.address().add(index, address, prefix);
            if address.is_ipv6() {
                add.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            }
            add.execute().await.with_context(|| format!("address {address}/{prefix}"))?;
        }
        set_state(&handle, index, true).await
    })
    .with_context(|| format!("interface {} of {}", end.interface, end.namespace.name()))
}

/// Removes an interface, and with it the other end of its pair.
///
/// # Errors
/// If there is no such interface, or without CAP_NET_ADMIN.
pub fn delete(end: End<'_>) -> Result<()> {
    request(end.namespace, async |handle| {
        let index = index(&handle, end.interface).await?;
        Ok(handle.link().del(index).execute().await?)
    })
    .with_context(|| format!("deleting {} of {}", end.interface, end.namespace.name()))
}

/// Takes an interface up or down.
///
/// # Errors
/// If there is no such interface, or without CAP_NET_ADMIN.
pub fn set_up(end: End<'_>, up: bool) -> Result<()> {
    request(end.namespace, async |handle| {
        let index = index(&handle, end.interface).await?;
        set_state(&handle, index, up).await
    })
}

/// The names of a namespace's interfaces, sorted.
///
/// # Errors
/// Those of netlink.
pub fn interfaces(namespace: &Namespace) -> Result<Vec<String>> {
    request(namespace, async |handle| {
        let links: Vec<_> = handle.link().get().execute().try_collect().await?;
        let mut names: Vec<String> = links
            .into_iter()
            .flat_map(|link| link.attributes)
            .filter_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            })
            .collect();
        names.sort();
        Ok(names)
    })
}

/// The ids of the XDP programs on an interface; none without one.
///
/// # Errors
/// If there is no such interface.
pub fn xdp_programs(end: End<'_>) -> Result<Vec<u32>> {
    request(end.namespace, async |handle| {
        let mut links = handle.link().get().match_name(end.interface.to_owned()).execute();
        let link = links.try_next().await?.with_context(|| format!("no interface {}", end.interface))?;
        let xdp = link.attributes.into_iter().filter_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => Some(xdp),
            _ => None,
        });
        let ids = xdp.flatten().filter_map(|part| match part {
            LinkXdp::ProgId(id) => Some(id),
            _ => None,
        });
        Ok(ids.collect())
    })
}

/// The destinations of all routes of a namespace, of every table and type.
///
/// # Errors
/// Those of netlink.
pub fn routes(namespace: &Namespace) -> Result<Vec<IpAddr>> {
    request(namespace, async |handle| {
        let mut destinations = Vec::new();
        for question in
            [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()]
        {
            let routes: Vec<RouteMessage> = handle.route().get(question).execute().try_collect().await?;
            destinations.extend(routes.into_iter().flat_map(|route| route.attributes).filter_map(
                |attribute| match attribute {
                    RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::from(address)),
                    RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(address.into()),
                    _ => None,
                },
            ));
        }
        Ok(destinations)
    })
}

/// The next hops of a route, in the kernel's order; none without the route.
///
/// # Errors
/// Those of netlink.
pub fn next_hops(namespace: &Namespace, (prefix, length): (IpAddr, u8)) -> Result<Vec<IpAddr>> {
    let question = match prefix {
        IpAddr::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        IpAddr::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    };
    request(namespace, async |handle| {
        let routes: Vec<RouteMessage> = handle.route().get(question).execute().try_collect().await?;
        let is_it = |route: &RouteMessage| {
            let destination = route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Destination(destination) => address(destination),
                _ => None,
            });
            destination == Some(prefix) && route.header.destination_prefix_length == length
        };
        Ok(routes.iter().filter(|route| is_it(route)).flat_map(|route| gateways(&route.attributes)).collect())
    })
}

fn gateways(attributes: &[RouteAttribute]) -> Vec<IpAddr> {
    let of = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Gateway(gateway) => address(gateway).into_iter().collect(),
        RouteAttribute::MultiPath(hops) => hops.iter().flat_map(|hop| gateways(&hop.attributes)).collect(),
        _ => Vec::new(),
    };
    attributes.iter().flat_map(of).collect()
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// A route to the host at the other end of a link.
pub(crate) fn neighbour_route(end: End<'_>, host: Ipv4Addr) -> Result<()> {
    request(end.namespace, async |handle| {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(host, 32)
            .output_interface(index(&handle, end.interface).await?)
            .scope(RouteScope::Link);
        Ok(handle.route().add(route.build()).execute().await?)
    })
    .with_context(|| format!("route to {host} by {} of {}", end.interface, end.namespace.name()))
}

/// Makes `host` the neighbour at the other end of a link, with a MAC address that nobody has to be asked for.
///
/// # Errors
/// If there is no such interface, or it is down.
pub fn fixed_neighbour(end: End<'_>, host: IpAddr, mac: [u8; 6]) -> Result<()> {
    request(end.namespace, async |handle| {
        let index = index(&handle, end.interface).await?;
        let route = match host {
            IpAddr::V4(host) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(host, 32)
                .output_interface(index)
                .scope(RouteScope::Link)
                .build(),
            IpAddr::V6(host) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(host, 128)
                .output_interface(index)
                .build(),
        };
        handle.route().add(route).execute().await?;
        Ok(handle.neighbours().add(index, host).link_layer_address(&mac).execute().await?)
    })
    .with_context(|| format!("neighbour {host} by {} of {}", end.interface, end.namespace.name()))
}

/// Gives an interface, which must be down, a MAC address.
///
/// # Errors
/// If there is no such interface, or without CAP_NET_ADMIN.
pub fn set_mac(end: End<'_>, mac: [u8; 6]) -> Result<()> {
    request(end.namespace, async |handle| {
        let index = index(&handle, end.interface).await?;
        let message = LinkUnspec::new_with_index(index).address(mac.to_vec()).build();
        Ok(handle.link().set(message).execute().await?)
    })
}

/// Gives an interface another MTU, bytes.
///
/// # Errors
/// If there is no such interface, or without CAP_NET_ADMIN.
pub fn set_mtu(end: End<'_>, mtu: u32) -> Result<()> {
    request(end.namespace, async |handle| {
        let index = index(&handle, end.interface).await?;
        Ok(handle.link().set(LinkUnspec::new_with_index(index).mtu(mtu).build()).execute().await?)
    })
}

/// A default route of each family.
pub(crate) fn default_route(namespace: &Namespace, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<()> {
    request(namespace, async |handle| {
        let four = RouteMessageBuilder::<Ipv4Addr>::new().gateway(v4).build();
        handle.route().add(four).execute().await?;
        let six = RouteMessageBuilder::<Ipv6Addr>::new().gateway(v6).build();
        Ok(handle.route().add(six).execute().await?)
    })
    .with_context(|| format!("default routes of {}", namespace.name()))
}

/// Has packets to a host on this link be as small as this: a router refuses longer ones, though its link takes them.
///
/// # Errors
/// If there is no such interface, or without CAP_NET_ADMIN.
pub fn narrow(end: End<'_>, host: Ipv4Addr, mtu: u32) -> Result<()> {
    request(end.namespace, async |handle| {
        let index = index(&handle, end.interface).await?;
        let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(host, 32);
        let mut route = route.output_interface(index).scope(RouteScope::Link).build();
        route.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
        Ok(handle.route().add(route).replace().execute().await?)
    })
}

/// Spreads a prefix over next hops of its family, in place of its present ones; without any it has no route.
pub(crate) fn spread(namespace: &Namespace, (prefix, length): (IpAddr, u8), via: &[IpAddr]) -> Result<()> {
    let hops: Vec<RouteNextHop> = via.iter().map(|&via| next_hop(via)).collect::<Result<_>>()?;
    let route = match prefix {
        IpAddr::V4(prefix) => {
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(prefix, length).multipath(hops).build()
        }
        IpAddr::V6(prefix) => {
            RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(prefix, length).multipath(hops).build()
        }
    };
    request(namespace, async |handle| {
        if via.is_empty() {
            return Ok(handle.route().del(bare(prefix, length)).execute().await?);
        }
        Ok(handle.route().add(route).replace().execute().await?)
    })
    .with_context(|| format!("route of {prefix}/{length} over {via:?}"))
}

fn bare(prefix: IpAddr, length: u8) -> RouteMessage {
    match prefix {
        IpAddr::V4(prefix) => {
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(prefix, length).build()
        }
        IpAddr::V6(prefix) => {
            RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(prefix, length).build()
        }
    }
}

fn next_hop(via: IpAddr) -> Result<RouteNextHop> {
    let family = if via.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    Ok(RouteNextHopBuilder::new(family).via(via)?.build())
}

async fn set_state(handle: &Handle, index: u32, up: bool) -> Result<()> {
    let link = LinkUnspec::new_with_index(index);
    let link = if up { link.up() } else { link.down() };
    Ok(handle.link().set(link.build()).execute().await?)
}

/// An interface's number.
///
/// # Errors
/// If there is none of that name.
pub fn index_of(end: End<'_>) -> Result<u32> {
    request(end.namespace, async |handle| index(&handle, end.interface).await)
}

pub(crate) async fn index(handle: &Handle, interface: &str) -> Result<u32> {
    let mut links = handle.link().get().match_name(interface.to_owned()).execute();
    let link = links.try_next().await?.with_context(|| format!("no interface {interface}"))?;
    Ok(link.header.index)
}

/// Asks the kernel from inside a namespace.
pub(crate) fn request<T: Send>(
    namespace: &Namespace,
    work: impl AsyncFnOnce(Handle) -> Result<T> + Send,
) -> Result<T> {
    namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = new_connection()?;
            tokio::spawn(connection);
            work(handle).await
        })
    })
}
