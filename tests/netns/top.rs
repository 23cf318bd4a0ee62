//! `lb-agent top` of a node that has something to do.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::lab::Node;
use lb_tests::lab::site::SHOP;
use lb_tests::lab::wait::eventually;
use serde_json::Value;

use crate::liveness::await_all_up;
use crate::{connect, edges, with_site};

const SOON: Duration = Duration::from_secs(15);

#[test]
fn top_shows_members_flows_services_and_drops() -> Result<()> {
    with_site("top_shows_members_flows_services_and_drops", &edges(2), |lab, _| {
        await_all_up(lab)?;
        let to = SocketAddr::new(lab.vip().v4.into(), 80);
        let connections = (0..8).map(|_| {
            let mut connection = connect(lab, to)?;
            connection.fetch(SHOP, "/")?;
            Ok(connection)
        });
        let connections = connections.collect::<Result<Vec<_>>>()?;
        eventually("all connections are counted", SOON, || {
            let flows = lab.edges.iter().map(|node| Ok(top(node)?["flows"].as_u64().unwrap_or_default()));
            let flows: u64 = flows.collect::<Result<Vec<_>>>()?.into_iter().sum();
            ensure!(flows == connections.len() as u64, "{flows}");
            Ok(())
        })?;
        let mut sent = 0;
        for node in &lab.edges {
            let found = top(node)?;
            ensure!(found["node"] == node.name && found["not_ready"] == Value::Array(vec![]), "{found:#}");
            for member in found["members"].as_array().context("members")? {
                let state = if member["name"] == node.name { "this node" } else { "up" };
                ensure!(member["state"] == state && member["weight"] != 0, "{member:#}");
            }
            let all = found["services"].as_array().context("services")?;
            let http = all.iter().find(|one| one["address"] == to.to_string() + "/tcp").context("no HTTP")?;
            ensure!(http["object"] == "Service edgelb-system/ingress", "{http:#}");
            sent += http["packets"].as_u64().unwrap_or_default();
            ensure!(found["drops"].is_array(), "{found:#}");
        }
        ensure!(sent > 0, "nobody was the first hop of any packet");
        let (status, text) = lab.edges[0].lb_agent(&["top", "--once"])?;
        println!("{text}");
        ensure!(status.success() && text.starts_with("edge-1: ready; "), "{status}: {text}");
        ensure!(text.contains("\nedge-2 ") && text.contains("Service edgelb-system/ingress"), "{text}");

        lab.edges[0].kill_agent()?;
        let (status, text) = lab.edges[0].lb_agent(&["top", "--once"])?;
        ensure!(status.code() == Some(1) && text.contains("no agent answers"), "{status}: {text}");
        Ok(())
    })
}

fn top(node: &Node) -> Result<Value> {
    let (status, text) = node.lb_agent(&["top", "--once", "--json"])?;
    ensure!(status.success(), "{status}: {text}");
    serde_json::from_str(&text).with_context(|| text)
}
