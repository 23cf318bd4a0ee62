//! Leads some packets through the relay, by rules of the router: which table routes a packet depends on where it
//! came in and on its ports. What the relay sends back came in elsewhere, so it goes the usual way.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use anyhow::{Context, Result};
use rtnetlink::packet_route::IpProtocol;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RulePortRange};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::address::Link;
use super::namespace::Namespace;
use super::netlink::{index, request};

/// The table of the routes to the relay.
const TABLE: u32 = 100;

/// Leads TCP of clients with these ports through the relay, both ways.
///
/// # Errors
/// Those of netlink.
pub fn tcp_of_ports(router: &Namespace, nodes: &[String], ports: &Range<u16>) -> Result<()> {
    let range = RulePortRange { start: ports.start, end: ports.end - 1 };
    request(router, async |handle| {
        to_relay(&handle).await?;
        add(&handle, "client", RuleAttribute::SourcePortRange(range)).await?;
        for node in nodes {
            add(&handle, node, RuleAttribute::DestinationPortRange(range)).await?;
        }
        Ok(())
    })
    .context("leading packets through the relay")
}

async fn to_relay(handle: &Handle) -> Result<()> {
    let (link, interface) = (Link::relay(), index(handle, "relay").await?);
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new().gateway(link.host.v4).output_interface(interface);
    handle.route().add(v4.table_id(TABLE).build()).execute().await?;
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new().gateway(link.host.v6).output_interface(interface);
    Ok(handle.route().add(v6.table_id(TABLE).build()).execute().await?)
}

async fn add(handle: &Handle, from: &str, ports: RuleAttribute) -> Result<()> {
    let rule = || {
        let rule = handle.rule().add().input_interface(from).table_id(TABLE);
        rule.action(RuleAction::ToTable).priority(TABLE)
    };
    let more = [RuleAttribute::IpProtocol(IpProtocol::Tcp), ports];
    let mut v4 = rule().v4();
    v4.message_mut().attributes.extend(more.clone());
    v4.execute().await?;
    let mut v6 = rule().v6();
    v6.message_mut().attributes.extend(more);
    Ok(v6.execute().await?)
}
