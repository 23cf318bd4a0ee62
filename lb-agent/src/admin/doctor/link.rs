//! Interfaces as the kernel's routing netlink shows them.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, XdpAttached};

use super::read::{Fact, Unread};

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) is_up: bool,
    pub(super) has_carrier: bool,
    pub(super) is_loopback: bool,
    pub(super) has_address: bool,
    /// Bytes.
    pub(super) mtu: u32,
    /// Of one that is not a device: `veth`, `bridge`, `vlan`.
    pub(super) kind: Option<String>,
    pub(super) xdp: Option<Attached>,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attached {
    pub(super) id: u32,
    pub(super) is_native: bool,
}

/// All interfaces of this network namespace.
pub(super) async fn list() -> Fact<Vec<Link>> {
    let (connection, netlink, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let failed = |error: rtnetlink::Error| Unread::Failed(error.to_string());
    let links: Vec<_> = netlink.link().get().execute().try_collect().await.map_err(failed)?;
    let addresses: Vec<_> = netlink.address().get().execute().try_collect().await.map_err(failed)?;
    connection.abort();
    let with_address: BTreeSet<_> = addresses.iter().map(|address| address.header.index).collect();
    let link = |message| {
        let link = Link::from(message);
        Link { has_address: with_address.contains(&link.index), ..link }
    };
    Ok(links.into_iter().map(link).collect())
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            is_up: flags.contains(LinkFlags::Up),
            has_carrier: flags.contains(LinkFlags::LowerUp),
            is_loopback: flags.contains(LinkFlags::Loopback),
            ..Self::default()
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Xdp(xdp) => link.xdp = attached(&xdp),
                LinkAttribute::LinkInfo(parts) => link.kind = kind(&parts),
                _ => {}
            }
        }
        link
    }
}

fn kind(parts: &[LinkInfo]) -> Option<String> {
    parts.iter().find_map(|part| match part {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

fn attached(xdp: &[LinkXdp]) -> Option<Attached> {
    let id = xdp.iter().find_map(|part| match part {
        LinkXdp::ProgId(id) if *id != 0 => Some(*id),
        _ => None,
    })?;
    let is_native = xdp.iter().any(|part| matches!(part, LinkXdp::Attached(XdpAttached::Driver)));
    Some(Attached { id, is_native })
}
