//! Network interfaces as netlink shows them: index, kind, MAC address, MTU, and which XDP program they carry.

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecUnspec, InetDevConf, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp,
    XdpAttached,
};
use rtnetlink::{Handle, LinkUnspec};

use super::L4Error;

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    /// Of one that is no device: `bridge`, `bond`, `vlan`.
    pub(crate) kind: Option<String>,
    pub(crate) is_loopback: bool,
    /// Whether something is at the other end.
    pub(crate) has_carrier: bool,
    /// The interface whose port it is: a bridge, a bond.
    pub(crate) above: Option<u32>,
    /// The interface that it stands on, as a VLAN does; a veth's other end, too.
    pub(crate) below: Option<u32>,
    /// `None` where there is none: tunnels, loopback's is zero.
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) mtu: u32,
    /// The XDP program it carries, if any.
    pub(crate) program: Option<AttachedProgram>,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AttachedProgram {
    pub(crate) id: u32,
    pub(crate) is_native: bool,
}

/// All interfaces of this network namespace.
pub(crate) async fn list(netlink: &Handle) -> Result<Vec<Interface>, L4Error> {
    let links = netlink.link().get().execute().try_collect::<Vec<_>>().await;
    Ok(links.map_err(L4Error::netlink("list the interfaces"))?.into_iter().map(Interface::from).collect())
}

/// The interface of a name.
pub(crate) async fn find(netlink: &Handle, name: &str) -> Result<Interface, L4Error> {
    let all = list(netlink).await?;
    let present = all.iter().map(|interface| interface.name.as_str()).collect::<Vec<_>>().join(", ");
    all.iter()
        .find(|interface| interface.name == name)
        .cloned()
        .ok_or_else(|| L4Error::NoInterface { name: name.to_owned(), present })
}

/// A local VIP would be told to the network: makes the interface answer ARP only for its own addresses
/// (`arp_ignore` 1), and ask with them (`arp_announce` 2). By netlink, for `/proc/sys` is read-only in a pod.
pub(crate) async fn hide_vips(netlink: &Handle, name: &str) -> Result<(), L4Error> {
    let mut settings = InetDevConf::default();
    settings.arp_ignore = 1;
    settings.arp_announce = 2;
    let request = vec![AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(settings)])];
    let index = find(netlink, name).await?.index;
    let mut message = LinkUnspec::new_with_index(index).build();
    message.attributes.push(LinkAttribute::AfSpecUnspec(request));
    let action = format!("set arp_ignore and arp_announce of {name}");
    netlink.link().set(message).execute().await.map_err(L4Error::netlink(action))
}

impl From<LinkMessage> for Interface {
    fn from(message: LinkMessage) -> Self {
        let mut interface = Self {
            index: message.header.index,
            is_loopback: message.header.flags.contains(LinkFlags::Loopback),
            has_carrier: message.header.flags.contains(LinkFlags::LowerUp),
            ..Self::default()
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name = name,
                LinkAttribute::Address(address) => interface.mac = address.try_into().ok(),
                LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
                LinkAttribute::Controller(index) => interface.above = Some(index),
                LinkAttribute::Link(index) => interface.below = Some(index),
                LinkAttribute::LinkInfo(parts) => interface.kind = kind_of(&parts),
                LinkAttribute::Xdp(xdp) => interface.program = program_of(&xdp),
                _ => {}
            }
        }
        interface
    }
}

fn kind_of(parts: &[LinkInfo]) -> Option<String> {
    parts.iter().find_map(|part| match part {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

fn program_of(xdp: &[LinkXdp]) -> Option<AttachedProgram> {
    let id = xdp.iter().find_map(|part| match part {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })?;
    let is_native = xdp.iter().any(|part| matches!(part, LinkXdp::Attached(XdpAttached::Driver)));
    (id != 0).then_some(AttachedProgram { id, is_native })
}
