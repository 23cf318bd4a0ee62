//! The interfaces that packets for VIPs come in by, and where the operator leaves the choice to the agent
//! (`--interface auto`), which: those with a default route. What comes for the node comes in there, and what goes
//! to other members leaves there, whatever stands below: a bridge, a bond, a VLAN. All others (pods' ends, bridges
//! of containers) are left alone.

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};

use super::L4Error;
use super::interface::{self, Interface};
use super::netlink;

/// What `--interface` says for "find them".
pub const AUTO: &str = "auto";

/// RT_TABLE_MAIN of rtnetlink.h: where the default routes of a machine are.
const TABLE_MAIN: u32 = 254;

/// An interface on which packets are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uplink {
    /// Its name.
    pub name: String,
    /// Why this one, for people.
    pub why: String,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// The interfaces of these names; those with a default route for `auto`, or without any name.
///
/// # Errors
/// `L4Error::NoInterface`, `NoUplink` or `AutoAmongNames` with what to do about it; `L4Error::Netlink`.
pub async fn uplinks(names: &[String]) -> Result<Vec<Uplink>, L4Error> {
    let netlink = netlink::connect()?;
    let (autos, others): (Vec<_>, Vec<_>) = names.iter().map(String::as_str).partition(|name| *name == AUTO);
    match (autos.is_empty(), others.is_empty()) {
        (false, false) => Err(L4Error::AutoAmongNames { others: others.join(", ") }),
        (_, true) => choose(&interface::list(&netlink).await?, &default_routes(&netlink).await?),
        (true, false) => {
            let mut uplinks = Vec::new();
            for name in others {
                let Interface { name, mtu, .. } = interface::find(&netlink, name).await?;
                uplinks.push(Uplink { name, why: "named by --interface".to_owned(), mtu });
            }
            Ok(uplinks)
        }
    }
}

/// The interface that has this address as its own, if packets to it do not pass one of `taken` (indices): then
/// other members' packets come in where nobody takes them.
pub(crate) async fn apart(
    netlink: &Handle,
    address: IpAddr,
    taken: &[u32],
) -> Result<Option<String>, L4Error> {
    let addresses = netlink.address().get().execute().try_collect::<Vec<_>>().await;
    let is_it = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Local(found) | AddressAttribute::Address(found) => *found == address,
        _ => false,
    };
    let addresses = addresses.map_err(L4Error::netlink("list the addresses"))?;
    let holder = addresses.iter().find(|found| found.attributes.iter().any(is_it));
    let Some(holder) = holder.map(|holder| holder.header.index) else { return Ok(None) };
    Ok(apart_from(&interface::list(netlink).await?, holder, taken))
}

/// An address of no particular link (loopback, `dummy`) may be reached by any.
fn apart_from(interfaces: &[Interface], holder: u32, taken: &[u32]) -> Option<String> {
    let found = interfaces.iter().find(|interface| interface.index == holder)?;
    let is_anywhere = found.is_loopback || found.kind.as_deref() == Some("dummy");
    (!passes(interfaces, holder, taken) && !is_anywhere).then(|| found.name.clone())
}

/// Whether an interface's packets pass one of `taken`: it is one, stands on one (a VLAN), or has one as its port.
pub(crate) fn passes(interfaces: &[Interface], index: u32, taken: &[u32]) -> bool {
    let is_port = |interface: &Interface| interface.above == Some(index) && taken.contains(&interface.index);
    // Of a veth it is the index of its other end, which may be in another namespace.
    let below = interfaces.iter().find(|interface| interface.index == index);
    let below = below.filter(|found| found.kind.as_deref() != Some("veth")).and_then(|found| found.below);
    taken.contains(&index)
        || below.is_some_and(|below| taken.contains(&below))
        || interfaces.iter().any(is_port)
}

/// A default route of the main table.
#[derive(Clone, PartialEq, Eq, Debug)]
struct DefaultRoute {
    is_v4: bool,
    /// The kernel takes the least.
    metric: u32,
    /// One, or those of its next hops.
    interfaces: Vec<u32>,
}

async fn default_routes(handle: &Handle) -> Result<Vec<DefaultRoute>, L4Error> {
    Ok(netlink::routes(handle).await?.iter().filter_map(DefaultRoute::of).collect())
}

impl DefaultRoute {
    fn of(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        let is_v4 = header.address_family == AddressFamily::Inet;
        let mut route = Self { is_v4, metric: 0, interfaces: Vec::new() };
        let mut table = u32::from(header.table);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Table(number) => table = *number,
                RouteAttribute::Priority(metric) => route.metric = *metric,
                RouteAttribute::Oif(index) => route.interfaces.push(*index),
                RouteAttribute::MultiPath(hops) => {
                    route.interfaces.extend(hops.iter().map(|hop| hop.interface_index));
                }
                _ => {}
            }
        }
        let is_default = header.destination_prefix_length == 0 && header.kind == RouteType::Unicast;
        (is_default && table == TABLE_MAIN).then_some(route)
    }
}

/// Of each family, the interfaces of the best default route that stands on interfaces that can be taken.
fn choose(interfaces: &[Interface], routes: &[DefaultRoute]) -> Result<Vec<Uplink>, L4Error> {
    let known: BTreeMap<_, _> = interfaces.iter().map(|interface| (interface.index, interface)).collect();
    let can_be_taken = |index: &&u32| known.get(index).is_some_and(|interface| refusal(interface).is_none());
    let mut families: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (is_v4, family) in [(true, "IPv4"), (false, "IPv6")] {
        let usable = routes.iter().filter(|route| route.is_v4 == is_v4);
        let usable = usable.filter(|route| route.interfaces.iter().any(|index| can_be_taken(&index)));
        let Some(least) = usable.clone().map(|route| route.metric).min() else { continue };
        let best = usable.filter(|route| route.metric == least);
        for index in best.flat_map(|route| &route.interfaces).filter(can_be_taken) {
            let of = families.entry(*index).or_default();
            if of.last() != Some(&family) {
                of.push(family);
            }
        }
    }
    if families.is_empty() {
        return Err(nothing(interfaces, routes));
    }
    let uplink = |(index, families): (u32, Vec<&str>)| {
        let interface = known.get(&index)?;
        let why = format!("auto: {}has the default route of {}", kind(interface), families.join(" and "));
        Some(Uplink { name: interface.name.clone(), why, mtu: interface.mtu })
    };
    Ok(families.into_iter().filter_map(uplink).collect())
}

/// Why packets on an interface are not what the packet path reads: Ethernet frames.
fn refusal(interface: &Interface) -> Option<&'static str> {
    match interface.mac {
        _ if interface.is_loopback => Some("is the loopback"),
        None => Some("carries no Ethernet frames"),
        Some(_) => None,
    }
}

fn kind(interface: &Interface) -> String {
    interface.kind.as_ref().map(|kind| format!("{kind}, ")).unwrap_or_default()
}

fn nothing(interfaces: &[Interface], routes: &[DefaultRoute]) -> L4Error {
    let has_route =
        |interface: &&Interface| routes.iter().any(|route| route.interfaces.contains(&interface.index));
    let refused = interfaces.iter().filter(has_route);
    let passed_over: Vec<_> =
        refused.filter_map(|interface| Some(format!("{} {}", interface.name, refusal(interface)?))).collect();
    let passed_over =
        if passed_over.is_empty() { String::new() } else { format!(" ({})", passed_over.join(", ")) };
    let present: Vec<_> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
    L4Error::NoUplink { passed_over, present: present.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `lo`, `eth0`, `eth1`, a bridge with the port `eth2`, a VLAN on `eth0`, a tunnel, a pod's end.
    fn machine() -> Vec<Interface> {
        let interface = |index, name: &str, kind: Option<&str>, has_mac: bool| Interface {
            name: name.to_owned(),
            index,
            kind: kind.map(str::to_owned),
            is_loopback: name == "lo",
            mac: has_mac.then_some([2; 6]),
            mtu: 1500,
            ..Interface::default()
        };
        let mut machine = vec![
            interface(1, "lo", None, true),
            interface(2, "eth0", None, true),
            interface(3, "eth1", None, true),
            interface(4, "eth2", None, true),
            interface(5, "br0", Some("bridge"), true),
            interface(6, "eth0.7", Some("vlan"), true),
            interface(7, "wg0", Some("wireguard"), false),
            interface(8, "vethabc", Some("veth"), true),
            interface(9, "dummy0", Some("dummy"), true),
        ];
        (machine[3].above, machine[5].below) = (Some(5), Some(2));
        machine
    }

    fn route(is_v4: bool, metric: u32, interfaces: &[u32]) -> DefaultRoute {
        DefaultRoute { is_v4, metric, interfaces: interfaces.to_vec() }
    }

    #[track_caller]
    fn check(routes: &[DefaultRoute], expected: &[(&str, &str)]) {
        let found = choose(&machine(), routes).expect("there is a choice");
        let found: Vec<_> = found.iter().map(|uplink| (uplink.name.as_str(), uplink.why.as_str())).collect();
        assert_eq!(found, expected, "{routes:?}");
    }

    #[test]
    fn the_default_route_says_which() {
        check(&[route(true, 0, &[2])], &[("eth0", "auto: has the default route of IPv4")]);
        check(
            &[route(true, 100, &[2]), route(false, 1024, &[2])],
            &[("eth0", "auto: has the default route of IPv4 and IPv6")],
        );
        check(
            &[route(true, 0, &[2]), route(false, 1024, &[3])],
            &[
                ("eth0", "auto: has the default route of IPv4"),
                ("eth1", "auto: has the default route of IPv6"),
            ],
        );
    }

    #[test]
    fn the_best_one_counts_with_all_its_next_hops() {
        check(
            &[route(true, 600, &[3]), route(true, 100, &[2])],
            &[("eth0", "auto: has the default route of IPv4")],
        );
        let both = [
            ("eth0", "auto: has the default route of IPv6"),
            ("eth1", "auto: has the default route of IPv6"),
        ];
        check(&[route(false, 1024, &[2, 3, 2])], &both);
        check(&[route(false, 1024, &[2]), route(false, 1024, &[3])], &both);
    }

    #[test]
    fn what_stands_above_a_card_is_taken_as_it_is() {
        check(&[route(true, 0, &[5])], &[("br0", "auto: bridge, has the default route of IPv4")]);
        check(&[route(true, 0, &[6])], &[("eth0.7", "auto: vlan, has the default route of IPv4")]);
        check(&[route(true, 0, &[8])], &[("vethabc", "auto: veth, has the default route of IPv4")]);
    }

    #[test]
    fn tunnels_are_passed_over() {
        check(
            &[route(true, 50, &[7]), route(true, 100, &[2]), route(false, 1, &[7])],
            &[("eth0", "auto: has the default route of IPv4")],
        );
        for (routes, words) in [
            (vec![], "there is none that can be taken: name"),
            (vec![route(true, 0, &[7]), route(false, 0, &[1])], "(lo is the loopback, wg0 carries no"),
            (vec![route(true, 0, &[77])], "one of lo, eth0, eth1"),
        ] {
            let error = choose(&machine(), &routes).expect_err("nothing can be chosen").to_string();
            assert!(error.contains(words), "{routes:?}: {error}");
        }
    }

    #[test]
    fn members_packets_must_come_in_where_they_are_taken() {
        for (holder, taken, expected) in [
            (2, &[2][..], None),
            (3, &[2], Some("eth1")),
            // A bridge whose port is taken, a VLAN on one that is.
            (5, &[4], None),
            (5, &[2], Some("br0")),
            (6, &[2], None),
            (6, &[3], Some("eth0.7")),
            // By whatever link.
            (1, &[2], None),
            (9, &[2], None),
            (77, &[2], None),
        ] {
            assert_eq!(apart_from(&machine(), holder, taken).as_deref(), expected, "{holder} {taken:?}");
        }
    }

    #[tokio::test]
    async fn auto_stands_alone() {
        let names = ["eth0", "auto"].map(str::to_owned);
        let error = uplinks(&names).await.expect_err("auto beside a name").to_string();
        assert!(error.contains("leave out eth0"), "{error}");
        let error = uplinks(&["edgelb-none".to_owned()]).await.expect_err("no such interface").to_string();
        assert!(error.contains("no network interface edgelb-none"), "{error}");
        let named = uplinks(&["lo".to_owned()]).await.expect("it is there");
        assert_eq!((named[0].name.as_str(), named[0].why.as_str()), ("lo", "named by --interface"));
    }
}
