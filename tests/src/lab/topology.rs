//! What a lab is made of, and how it is raised: client --- router --- edge nodes, and pods behind the router.
//!
//! ```text
//!               +------------------ router -----------------+      ECMP: VIPs over edge-1..edge-N
//!               | client     edge-1 edge-2 ..   shop-1 api-1 |      one veth pair to each
//!               +---+----------+------+-----------+-----+---+
//!                 eth0        eth0   eth0        eth0  eth0
//!                client      edge-1 edge-2      shop-1 api-1
//! ```

use std::net::IpAddr;

use anyhow::{Context, Result};

use super::address::{Addresses, Link, VIPS_V4, VIPS_V6};
use super::claim::Claim;
use super::namespace::Namespace;
use super::netlink::{End, bridge_over, configure, default_route, neighbour_route, pair, set_up, spread};
use super::offload::finish_checksums;

/// The name of the one interface of every namespace but the router's.
pub const UPLINK: &str = "eth0";

/// An application: a Service with this many pods behind it.
#[derive(Clone, Debug)]
pub struct App {
    /// The Service's name; its pods are `<name>-1` and so on.
    pub name: String,
    /// How many pods.
    pub pods: u8,
}

/// What a lab has.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Edge nodes, 1 to `address::MAX_EDGES`.
    pub edges: u8,
    /// Applications, at most `address::MAX_PODS`, each with at most so many pods.
    pub apps: Vec<App>,
}

impl Default for Topology {
    /// What `deploy/examples` has: three edge nodes; `shop` and `api` with two pods each.
    fn default() -> Self {
        let app = |name: &str| App { name: name.to_owned(), pods: 2 };
        Self { edges: 3, apps: vec![app("shop"), app("api")] }
    }
}

impl Topology {
    /// The edge nodes' names and links.
    pub(crate) fn edge_links(&self) -> impl Iterator<Item = (String, Link)> {
        (1..=self.edges).map(|n| (format!("edge-{n}"), Link::edge(n)))
    }

    /// Per pod: its app's name, its own name, its link.
    pub(crate) fn pod_links(&self) -> impl Iterator<Item = (String, String, Link)> {
        (1..).zip(&self.apps).flat_map(|(number, app)| {
            (1..=app.pods).map(move |n| (app.name.clone(), format!("{}-{n}", app.name), Link::pod(number, n)))
        })
    }
}

/// A namespace that only switches packets, with everything that makes it a router with ECMP.
pub(crate) fn raise_router(claim: &Claim) -> Result<Namespace> {
    let router = raise(claim, "router")?;
    for (key, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        // Let through what comes from where no route leads back to: forged packets must reach the nodes.
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        // Policy 1 would take the sender socket's hash on veth, which changes with each retransmission.
        ("ipv4/fib_multipath_hash_policy", "3"),
        ("ipv4/fib_multipath_hash_fields", "0x37"),
        ("ipv6/fib_multipath_hash_policy", "3"),
        ("ipv6/fib_multipath_hash_fields", "0x37"),
    ] {
        router.set_sysctl(key, value)?;
    }
    Ok(router)
}

/// A namespace with one link to the router, whose end there has the host's name.
pub(crate) fn raise_host(claim: &Claim, router: &Namespace, name: &str, link: Link) -> Result<Namespace> {
    let host = raise(claim, name)?;
    let near = End { namespace: router, interface: name };
    let far = End { namespace: &host, interface: UPLINK };
    pair(near, far)?;
    for (end, own, other) in [(near, link.router, link.host), (far, link.host, link.router)] {
        finish_checksums(end)?;
        configure(end, &[(own.v4.into(), 32), (own.v6.into(), 64)])?;
        neighbour_route(end, other.v4)?;
    }
    default_route(&host, link.router.v4, link.router.v6)?;
    Ok(host)
}

/// Takes the link to a host down at the router's end: there is no carrier at the host's.
pub(crate) fn cut_link(router: &Namespace, name: &str) -> Result<()> {
    // The kernel forgets IPv6 addresses otherwise.
    router.set_sysctl(&format!("ipv6/conf/{name}/keep_addr_on_down"), "1")?;
    set_up(End { namespace: router, interface: name }, false)
}

/// Takes it up again, with the router's route that went with it.
pub(crate) fn mend_link(router: &Namespace, name: &str, link: Link) -> Result<()> {
    let end = End { namespace: router, interface: name };
    set_up(end, true)?;
    neighbour_route(end, link.host.v4)
}

/// Has the router speak IPv6 on its link to a host, with the address that it had, or not.
pub(crate) fn speak_v6(router: &Namespace, name: &str, link: Link, speaks: bool) -> Result<()> {
    router.set_sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), if speaks { "0" } else { "1" })?;
    if !speaks {
        return Ok(());
    }
    configure(End { namespace: router, interface: name }, &[(link.router.v6.into(), 64)])
}

/// Puts a bridge over the host's uplink, and on it the addresses and routes that the uplink had.
pub(crate) fn raise_bridge(host: &Namespace, bridge: &str, link: Link) -> Result<()> {
    bridge_over(End { namespace: host, interface: UPLINK }, bridge)?;
    let above = End { namespace: host, interface: bridge };
    configure(above, &[(link.host.v4.into(), 32), (link.host.v6.into(), 64)])?;
    neighbour_route(above, link.router.v4)?;
    default_route(host, link.router.v4, link.router.v6)
}

/// Gives a host the routes again that its kernel forgot when its uplink was taken down.
pub(crate) fn restore_routes(host: &Namespace, link: Link) -> Result<()> {
    neighbour_route(End { namespace: host, interface: UPLINK }, link.router.v4)?;
    default_route(host, link.router.v4, link.router.v6)
}

/// Spreads the VIPs over these edge nodes, in place of those before.
pub(crate) fn spread_vips(router: &Namespace, edges: &[Link]) -> Result<()> {
    spread_over(router, [(VIPS_V4.0.into(), VIPS_V4.1), (VIPS_V6.0.into(), VIPS_V6.1)], edges)
}

/// The same of one VIP, wherever the others go.
pub(crate) fn spread_vip(router: &Namespace, vip: Addresses, edges: &[Link]) -> Result<()> {
    spread_over(router, [(vip.v4.into(), 32), (vip.v6.into(), 128)], edges)
}

fn spread_over(router: &Namespace, prefixes: [(IpAddr, u8); 2], edges: &[Link]) -> Result<()> {
    let [v4, v6] = prefixes;
    spread(router, v4, &edges.iter().map(|edge| edge.host.v4.into()).collect::<Vec<_>>())?;
    spread(router, v6, &edges.iter().map(|edge| edge.host.v6.into()).collect::<Vec<_>>())
}

fn raise(claim: &Claim, name: &str) -> Result<Namespace> {
    let namespace =
        Namespace::create(name, &claim.namespace_path(name)).with_context(|| format!("namespace {name}"))?;
    // No address is used twice here: do not wait a second on each link to find out.
    namespace.set_sysctl("ipv6/conf/default/dad_transmits", "0")?;
    configure(End { namespace: &namespace, interface: "lo" }, &[])?;
    Ok(namespace)
}
