//! Connections to the kernel's routing netlink.

use futures_util::{Stream, StreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
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

/// One item for each change of links, addresses, routes and neighbours, and one whenever the kernel had to
/// drop some: what changed must be looked up either way.
pub(crate) fn changes() -> Result<impl Stream<Item = ()> + Unpin, L4Error> {
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
    Ok(messages.filter_map(|(message, _)| std::future::ready(is_change(&message).then_some(()))))
}

fn is_change(message: &NetlinkMessage<RouteNetlinkMessage>) -> bool {
    matches!(message.payload, NetlinkPayload::InnerMessage(_) | NetlinkPayload::Overrun(_))
}
