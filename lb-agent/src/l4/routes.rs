//! VIPs as local routes: the kernel accepts packets for them, but no interface has them as an address, so
//! nothing takes them for the node's own. Marked with a protocol number of ours, so that what an earlier
//! agent left is found again.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::L4Error;
use super::interface;
use super::netlink;
use super::reach::prefix_len;

/// "proto 101" in `ip route show table local`: unassigned in rtnetlink.h and iproute2's table.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(101);

/// RT_TABLE_LOCAL of rtnetlink.h: asked before all others.
const TABLE_LOCAL: u32 = 255;

const LOOPBACK: &str = "lo";

/// Brings the local routes of ours to exactly `vips`. One that fails (IPv6 may be off) does not keep the others
/// from theirs; it is told after all.
pub(crate) async fn set(netlink: &Handle, vips: &BTreeSet<IpAddr>) -> Result<(), L4Error> {
    let installed = list(netlink).await?;
    let loopback = interface::find(netlink, LOOPBACK).await?.index;
    let mut result = Ok(());
    for &vip in vips.difference(&installed) {
        let added = netlink.route().add(message(vip, loopback)).replace().execute().await;
        result = result.and(added.map_err(L4Error::netlink(format!("add the local route of {vip}"))));
    }
    for &vip in installed.difference(vips) {
        let removed = netlink.route().del(message(vip, loopback)).execute().await;
        result = result.and(removed.map_err(L4Error::netlink(format!("remove the local route of {vip}"))));
    }
    result
}

/// The VIPs that have a local route of ours.
pub(crate) async fn list(handle: &Handle) -> Result<BTreeSet<IpAddr>, L4Error> {
    Ok(netlink::routes(handle).await?.iter().filter_map(vip).collect())
}

fn vip(route: &RouteMessage) -> Option<IpAddr> {
    let header = &route.header;
    if header.protocol != PROTOCOL || header.kind != RouteType::Local {
        return None;
    }
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some((*address).into()),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some((*address).into()),
        _ => None,
    })
}

fn message(vip: IpAddr, loopback: u32) -> RouteMessage {
    let builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(vip, prefix_len(vip))
        .expect("the length of a whole address")
        .output_interface(loopback)
        .table_id(TABLE_LOCAL)
        .protocol(PROTOCOL)
        .kind(RouteType::Local)
        .scope(RouteScope::Host);
    builder.build()
}
