//! Requests through the router to the VIPs.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use lb_tests::lab::calls::Target;

use super::site::Site;
use super::{ALL, soon};

/// Connections by each way: with three equal members, one without any has a chance of (2/3)^60.
const CONNECTIONS: usize = 60;

/// Each way is answered by the app, on each node: kube-proxy, which is on all of them, is in nobody's way.
pub(super) fn is_spread(site: &mut Site<'_>) -> Result<()> {
    for target in site.targets() {
        soon("an answer", || site.client().run(|| target.ask()))?;
        opens_at(site, &target, &ALL)?;
    }
    Ok(())
}

/// New connections open at these nodes, at each of them, and at no other.
pub(super) fn opens_at(site: &Site<'_>, target: &Target, names: &[&str]) -> Result<()> {
    let by_node = spread(site, target)?;
    ensure!(by_node.keys().eq(names), "{} by {by_node:?}", target.to);
    println!("  {} by {by_node:?}", target.to);
    Ok(())
}

/// Connections by the node whose proxy asked the pod.
fn spread(site: &Site<'_>, target: &Target) -> Result<BTreeMap<String, usize>> {
    let mut by_node = BTreeMap::new();
    for _ in 0..CONNECTIONS {
        let body = site.client().run(|| target.ask())?;
        let from = body.trim_end().rsplit_once("from=").context("the app's answer")?.1;
        let from: SocketAddr = from.parse().with_context(|| body.clone())?;
        *by_node.entry(site.node_of(from.ip())?).or_default() += 1;
    }
    Ok(by_node)
}
