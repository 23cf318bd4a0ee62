//! A flow key that is changed while members hold flows takes the former one's place, through crashes and updates of the
//! agents, and breaks no connection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_common::verdict::DropReason;
use lb_tests::lab::site::SHOP;
use lb_tests::lab::spread::{measure, owner};
use lb_tests::lab::wait::eventually;
use lb_tests::lab::{HASH_KEY, Lab, Node};
use serde_json::Value;

use crate::liveness::await_all_up;
use crate::membership::hold;
use crate::{edges, with_site};

const SOON: Duration = Duration::from_secs(30);

/// By the other key, half of them have another opener.
const KEPT: usize = 8;

const OTHER: &[u8] = b"another key than the one by which flows opened";

#[test]
fn another_flow_key_takes_its_place_and_breaks_no_connection() -> Result<()> {
    with_site("another_flow_key_takes_its_place_and_breaks_no_connection", &edges(2), |lab, _| {
        await_all_up(lab)?;
        let mut kept: Vec<_> = (0..KEPT).map(|_| hold(lab, "edge-2")).collect::<Result<_>>()?;
        // What comes by edge-1 is for edge-2 all the same.
        lab.spread_vips(&[&lab.edges[0]])?;
        lab.edges.iter().try_for_each(|node| node.give_key(OTHER))?;
        lab.edges.iter().try_for_each(|node| says(node, "is in force, "))?;
        for node in &lab.edges {
            ensure!(node.metric("lb_l4_flow_keys")? == 2.0, "{}", node.name);
        }
        let (_, doctor) = lab.edges[0].lb_agent(&["doctor"])?;
        ensure!(doctor.contains("warn  agent            flow key "), "{doctor}");
        go_on(lab, &mut kept, "with two keys")?;
        lab.edges[0].kill_agent()?;
        go_on(lab, &mut kept, "without an agent")?;
        lab.edges[0].run_agent(&[])?;
        says(&lab.edges[0], "is in force, ")?;
        go_on(lab, &mut kept, "after a crash")?;
        lab.edges[0].run_next_agent()?.stop()?;
        says(&lab.edges[0], "is in force, ")?;
        go_on(lab, &mut kept, "after an update")?;
        both_serve(lab)?;
        drop(kept);
        lab.edges.iter().try_for_each(has_one)?;
        for node in &lab.edges {
            let refused = node.verdict(DropReason::BadTag.into())?;
            ensure!(refused == 0.0, "{} refused {refused} packets", node.name);
        }
        both_serve(lab)
    })
}

#[test]
fn a_flow_key_that_one_node_was_not_given_changes_nothing() -> Result<()> {
    with_site("a_flow_key_that_one_node_was_not_given_changes_nothing", &edges(3), |lab, _| {
        await_all_up(lab)?;
        let mut kept: Vec<_> = (0..KEPT).map(|_| hold(lab, "edge-2")).collect::<Result<_>>()?;
        let (given, not_given) = (&lab.edges[..2], &lab.edges[2]);
        let before = key_in_force(not_given)?;
        given.iter().try_for_each(|node| node.give_key(OTHER))?;
        for node in given {
            says(node, "is known to this node and on its way")?;
            says(node, "edge-3 has not told this node that it knows it")?;
        }
        has_one(not_given)?;
        go_on(lab, &mut kept, "while some know another key")?;
        both_serve(lab)?;
        for node in &lab.edges {
            let now = key_in_force(node)?;
            ensure!(now == before, "{} goes by {now}, not by {before}", node.name);
        }
        // What is taken back in time was nothing.
        given.iter().try_for_each(|node| node.give_key(HASH_KEY))?;
        lab.edges.iter().try_for_each(has_one)?;
        go_on(lab, &mut kept, "when it was taken back")
    })
}

/// Waits until the node says this of its keys; it is ready nevertheless.
fn says(node: &Node, words: &str) -> Result<()> {
    eventually("it is told of the keys", SOON, || {
        let answer = node.admin("/readyz")?;
        let text = String::from_utf8_lossy(&answer.body);
        let is_told = text.contains("; flow key ") && text.contains(words);
        ensure!(answer.status == 200 && is_told, "{}: {text}", node.name);
        Ok(())
    })
}

/// Waits until one key is in force, and nothing more to be said of it.
fn has_one(node: &Node) -> Result<()> {
    eventually("one key is left", SOON, || {
        let text = String::from_utf8_lossy(&node.admin("/readyz")?.body).into_owned();
        ensure!(!text.contains("flow key"), "{}: {text}", node.name);
        ensure!(node.metric("lb_l4_flow_keys")? == 1.0, "{}", node.name);
        ensure!(node.metric("lb_l4_flow_key_comes")? == 0.0, "{}", node.name);
        Ok(())
    })
}

/// The fingerprint of the one by which flows open at a node.
fn key_in_force(node: &Node) -> Result<String> {
    let dump: Value = serde_json::from_slice(&node.admin("/debug/snapshot")?.body)?;
    Ok(dump["memberships"]["flow_keys"]["in_force"].as_str().context("no flow key")?.to_owned())
}

fn go_on<S: std::io::Read + std::io::Write>(
    lab: &Lab,
    kept: &mut [lb_tests::lab::http::Connection<S>],
    when: &str,
) -> Result<()> {
    for connection in kept {
        let name = &owner(lab, connection, SHOP).context(when.to_owned())?.name;
        ensure!(name == "edge-2", "{when}: {name}");
    }
    Ok(())
}

/// A node that was away gets new flows again after a while.
fn both_serve(lab: &Lab) -> Result<()> {
    let to = SocketAddr::new(lab.vip().v4.into(), 80);
    eventually("both nodes own new flows", SOON, || {
        let spread = measure(lab, to, SHOP, 64, || {})?;
        ensure!(spread.values().all(|&count| count > 0), "{spread:?}");
        Ok(())
    })
}
