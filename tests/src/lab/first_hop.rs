//! Which next hop the router takes for a flow: its kernel is asked, flow by flow.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::namespace::Namespace;
use super::netlink::{index, request};

/// `IPPROTO_TCP`
const TCP: u8 = 6;

/// The interfaces by which the router sends packets from each client on to each VIP; none without a route. Packets
/// of clients come in by the interface `from`.
///
/// # Errors
/// Those of netlink.
pub fn of(router: &Namespace, from: &str, flows: &[(SocketAddr, SocketAddr)]) -> Result<Vec<Option<String>>> {
    request(router, async |handle| {
        let names = names(&handle).await?;
        let from = index(&handle, from).await?;
        let mut hops = Vec::with_capacity(flows.len());
        for &(client, vip) in flows {
            let found = handle.route().get(question(from, client, vip)).execute().try_next().await;
            // An unreachable VIP is an answer, too.
            let out = found.ok().flatten().as_ref().and_then(interface);
            hops.push(out.and_then(|out| names.get(&out).cloned()));
        }
        Ok(hops)
    })
    .context("asking the router for next hops")
}

fn question(from: u32, client: SocketAddr, vip: SocketAddr) -> RouteMessage {
    let bits = if vip.is_ipv4() { 32 } else { 128 };
    let mut question = match (client.ip(), vip.ip()) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .destination_prefix(vip, bits)
            .source_prefix(client, bits)
            .build(),
        (IpAddr::V6(client), IpAddr::V6(vip)) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .destination_prefix(vip, bits)
            .source_prefix(client, bits)
            .build(),
        _ => panic!("addresses of two families"),
    };
    question.attributes.extend([
        RouteAttribute::Iif(from),
        RouteAttribute::IpProto(TCP),
        RouteAttribute::Sport(client.port()),
        RouteAttribute::Dport(vip.port()),
    ]);
    question
}

fn interface(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

async fn names(handle: &Handle) -> Result<BTreeMap<u32, String>> {
    let links: Vec<_> = handle.link().get().execute().try_collect().await?;
    let name = |link: &rtnetlink::packet_route::link::LinkMessage| {
        link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })
    };
    Ok(links.iter().filter_map(|link| Some((link.header.index, name(link)?))).collect())
}
