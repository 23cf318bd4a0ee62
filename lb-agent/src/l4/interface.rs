//! Network interfaces as netlink shows them: index, MAC address, MTU, and which XDP program they carry.

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecUnspec, InetDevConf, LinkAttribute, LinkMessage, LinkXdp, XdpAttached,
};
use rtnetlink::{Handle, LinkUnspec};

use super::L4Error;

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
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

/// The MTU of an interface, in bytes.
///
/// # Errors
/// `L4Error::NoInterface`, or `L4Error::Netlink`.
pub async fn interface_mtu(name: &str) -> Result<u32, L4Error> {
    Ok(find(&super::netlink::connect()?, name).await?.mtu)
}

impl From<LinkMessage> for Interface {
    fn from(message: LinkMessage) -> Self {
        let mut interface =
            Self { name: String::new(), index: message.header.index, mac: None, mtu: 0, program: None };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name = name,
                LinkAttribute::Address(address) => interface.mac = address.try_into().ok(),
                LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
                LinkAttribute::Xdp(xdp) => interface.program = program_of(&xdp),
                _ => {}
            }
        }
        interface
    }
}

fn program_of(xdp: &[LinkXdp]) -> Option<AttachedProgram> {
    let id = xdp.iter().find_map(|part| match part {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })?;
    let is_native = xdp.iter().any(|part| matches!(part, LinkXdp::Attached(XdpAttached::Driver)));
    (id != 0).then_some(AttachedProgram { id, is_native })
}
