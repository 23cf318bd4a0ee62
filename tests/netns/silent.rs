//! Nodes whose agents have died, while the router goes on sending to them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::lab::Lab;
use lb_tests::lab::site::SHOP;
use lb_tests::lab::wait::{eventually, until};

use crate::liveness::{await_all_up, expect_state};
use crate::membership::{openers, rows};
use crate::{connect, edges, with_site};

const SOON: Duration = Duration::from_secs(10);

/// So many that nearly each pair of a first hop and an opener has some.
const CONNECTIONS: usize = 64;

/// The first one's packet path does not know that the second one's agent has died.
#[test]
fn two_agents_die_and_every_new_connection_opens_at_the_third_node() -> Result<()> {
    with_site("two_agents_die_and_every_new_connection_opens_at_the_third_node", &edges(3), |lab, _| {
        await_all_up(lab)?;
        lab.edges[0].kill_agent()?;
        eventually("edge-1 is down", SOON, || expect_state(&lab.edges[1], "edge-1", "down"))?;
        until("two open what three opened", SOON, || openers_at(lab, 1).is_ok_and(|openers| openers == 2))?;
        lab.edges[1].kill_agent()?;
        eventually("edge-2 is down", SOON, || expect_state(&lab.edges[2], "edge-2", "down"))?;
        until("one opens everything", SOON, || openers_at(lab, 2).is_ok_and(|openers| openers == 1))?;
        // Their own packet paths notice a moment later.
        eventually("every connection is served", SOON, || (0..CONNECTIONS).try_for_each(|_| serve(lab)))?;
        (0..CONNECTIONS).try_for_each(|_| serve(lab))
    })
}

/// How many members open new flows by a node's rows.
fn openers_at(lab: &Lab, node: usize) -> Result<usize> {
    let mut openers = openers(&rows(&lab.edges[node])?);
    openers.sort_unstable();
    openers.dedup();
    Ok(openers.len())
}

/// A new connection with a request.
fn serve(lab: &Lab) -> Result<()> {
    let vip = lab.vip();
    for vip in [vip.v4.into(), vip.v6.into()] {
        let answer = connect(lab, SocketAddr::new(vip, 80))?.fetch(SHOP, "/")?;
        ensure!(answer.status == 200, "{}", answer.status);
    }
    Ok(())
}
