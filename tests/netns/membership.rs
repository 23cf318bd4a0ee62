//! Nodes that come and go in a folder: every node learns a change before it is in force, and keeps the owners of
//! before in its rows.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use lb_agent::l4::pins::Pins;
use lb_common::map::{Member, Rows, TableHead, member, name};
use lb_common::row::{MemberId, Row};
use lb_tests::lab::http::Connection;
use lb_tests::lab::site::SHOP;
use lb_tests::lab::spread::owner;
use lb_tests::lab::wait::{eventually, until};
use lb_tests::lab::{Lab, Node};
use nix::sys::signal::Signal;

use crate::liveness::{await_all_up, dump, expect_state};
use crate::{connect, edges, with_site};

const SOON: Duration = Duration::from_secs(20);

/// So long a former membership stays at least.
const LEAST: Duration = Duration::from_secs(5);

/// An agent stands still for as long.
const STALL: Duration = Duration::from_secs(4);

/// So many that some are of each member's buckets.
const CONNECTIONS: usize = 64;

#[test]
fn a_change_of_the_folder_is_learned_then_in_force_and_outlives_an_agent() -> Result<()> {
    let test = "a_change_of_the_folder_is_learned_then_in_force_and_outlives_an_agent";
    with_site(test, &edges(3), |lab, _| {
        await_rows(lab, "nobody needs what may have been before", is_alone)?;
        let all = agreed(lab)?;
        let kept = hold(lab, "edge-3")?;

        lab.write_nodes(&["edge-3"])?;
        await_rows(lab, "edge-3 is about to go", |rows| rows != all && openers(rows) == openers(&all))?;
        await_rows(lab, "edge-3 is gone", |rows| openers(rows) != openers(&all))?;
        let without = agreed(lab)?;
        for (before, row) in all.iter().zip(&without) {
            ensure!(owners(row).contains(&before.opener()), "{before:?} is lost in {row:?}");
        }

        lab.edges[0].kill_agent()?;
        lab.edges[0].run_agent(&[])?;
        await_rows(lab, "the next agent knows who was a member before", |rows| rows == without)?;
        let start = Instant::now();
        until("the time after which it may go", SOON, || start.elapsed() > LEAST + LEAST)?;
        ensure!(agreed(lab)? == without, "a flow of edge-3 needs its rows");
        drop(kept);
        await_rows(lab, "no flow needs edge-3 any more", is_alone)?;

        lab.write_nodes(&[])?;
        await_rows(lab, "edge-3 is back", |rows| openers(rows) == openers(&all))
    })
}

#[test]
fn a_change_waits_until_flows_need_less() -> Result<()> {
    with_site("a_change_waits_until_flows_need_less", &edges(3), |lab, _| {
        await_rows(lab, "nobody needs what may have been before", is_alone)?;
        let all = openers(&agreed(lab)?);
        let (third, second) = (hold(lab, "edge-3")?, hold(lab, "edge-2")?);
        lab.write_nodes(&["edge-3"])?;
        await_rows(lab, "edge-3 is gone", |rows| openers(rows) != all)?;
        let two = openers(&agreed(lab)?);
        lab.write_nodes(&["edge-2", "edge-3"])?;
        await_rows(lab, "edge-2 is gone", |rows| openers(rows) != two)?;
        let one = agreed(lab)?;

        lab.write_nodes(&["edge-2"])?;
        let words = "change 4 queued (edge-3 joins): edge-3 holds flows of membership 1 and edge-2 holds flows of membership 2";
        for node in &lab.edges {
            eventually("the change waits", SOON, || {
                let queued = dump(node)?["memberships"]["queued"].clone();
                ensure!(queued == words, "{}: {queued}", node.name);
                Ok(())
            })?;
        }
        ensure!(lab.edges[0].metric("lb_l4_change_queued")? == 1.0);
        let (_, doctor) = lab.edges[0].lb_agent(&["doctor"])?;
        ensure!(doctor.contains(&format!("warn  agent            {words}")), "{doctor}");
        let start = Instant::now();
        until("the time after which it may go", SOON, || start.elapsed() > LEAST + LEAST)?;
        ensure!(openers(&agreed(lab)?) == openers(&one), "it did not wait");
        drop(second);
        await_rows(lab, "edge-3 is back", |rows| openers(rows) != openers(&one))?;
        let mut third = third;
        ensure!(owner(lab, &mut third, SHOP)?.name == "edge-3", "its flow is found all the time");
        Ok(())
    })
}

/// It does not know the openers that come: what opened there nobody would look for that comes by it.
#[test]
fn a_change_waits_for_a_node_whose_agent_stands_still() -> Result<()> {
    with_site("a_change_waits_for_a_node_whose_agent_stands_still", &edges(3), |lab, _| {
        await_rows(lab, "nobody needs what may have been before", is_alone)?;
        let all = openers(&agreed(lab)?);
        lab.spread_vips(&[&lab.edges[0]])?;
        lab.edges[2].agent().context("it was started")?.signal(Signal::SIGSTOP)?;
        lab.write_nodes(&["edge-2"])?;
        let start = Instant::now();
        until("the time after which it would be in force", SOON, || start.elapsed() > STALL)?;
        let opened: Result<Vec<_>> = (0..CONNECTIONS).map(|_| connect(lab, vip(lab))).collect();
        let mut opened = opened?;
        let serve = |opened: &mut Vec<Connection<TcpStream>>| -> Result<()> {
            for connection in opened {
                ensure!(connection.fetch(SHOP, "/")?.status == 200);
            }
            Ok(())
        };
        serve(&mut opened)?;
        lab.spread_vips(&[&lab.edges[2]])?;
        serve(&mut opened)?;
        lab.edges[2].agent().context("it was started")?.signal(Signal::SIGCONT)?;
        // Rows differ as long as flows live that opened while others took the third node for down.
        await_other_openers(lab, "edge-2 is gone", &all)?;
        serve(&mut opened)
    })
}

#[test]
fn a_drain_is_a_change_for_all_nodes() -> Result<()> {
    with_site("a_drain_is_a_change_for_all_nodes", &edges(3), |lab, _| {
        await_rows(lab, "nobody needs what may have been before", is_alone)?;
        let all = openers(&agreed(lab)?);
        let mut kept = hold(lab, "edge-1")?;
        lab.edges[0].lb_agent(&["drain"])?;
        await_rows(lab, "edge-1 drains", |rows| openers(rows) != all)?;
        for _ in 0..32 {
            let found = owner(lab, &mut connect(lab, vip(lab))?, SHOP)?;
            ensure!(found.name != "edge-1", "a new flow opened there");
        }
        eventually("its connections end in order", SOON, || {
            let report = String::from_utf8_lossy(&lab.edges[0].admin("/drain")?.body).into_owned();
            ensure!(report.contains("\"opens_here\": false"), "{report}");
            Ok(())
        })?;
        let last = kept.fetch(SHOP, "/")?;
        ensure!(last.header("connection") == Some("close"), "{last:?}");
        kept.await_end()?;
        lab.edges[0].lb_agent(&["drain", "--cancel"])?;
        await_rows(lab, "edge-1 is back", |rows| openers(rows) == all)?;

        for node in &lab.edges {
            node.lb_agent(&["drain"])?;
        }
        let drain = |node: &Node| -> Result<bool> {
            let newest = dump(node)?["memberships"]["agreed"].as_array().and_then(|all| all.last().cloned());
            let newest = newest.context("there is a membership")?;
            let weights = newest["members"].as_object().context("it has members")?;
            Ok(newest["step"] != "learn" && weights.values().all(|weight| *weight == 0))
        };
        eventually("all drain", SOON, || {
            for node in &lab.edges {
                ensure!(drain(node)?, "{} does not know it", node.name);
            }
            Ok(())
        })?;
        eventually("all go on", SOON, || {
            for _ in 0..32 {
                let answer = connect(lab, vip(lab))?.fetch(SHOP, "/")?;
                ensure!(answer.header("connection").is_none(), "{answer:?}");
            }
            Ok(())
        })
    })
}

#[test]
fn a_node_that_is_told_to_stop_gets_no_flows_before_it_does() -> Result<()> {
    with_site("a_node_that_is_told_to_stop_gets_no_flows_before_it_does", &edges(2), |lab, _| {
        await_rows(lab, "nobody needs what may have been before", is_alone)?;
        let mut kept = hold(lab, "edge-1")?;
        let both = openers(&agreed(lab)?);
        lab.edges[0].agent().context("it was started")?.ask_to_stop()?;
        let mut idle = connect(lab, vip(lab))?;
        owner(lab, &mut idle, SHOP)?;
        await_rows(lab, "new flows open at edge-2", |rows| {
            openers(rows) != both && openers(rows).windows(2).all(|pair| pair[0] == pair[1])
        })?;
        ensure!(kept.fetch(SHOP, "/")?.status == 200);
        ensure!(owner(lab, &mut connect(lab, vip(lab))?, SHOP)?.name == "edge-2");
        let end = lab.edges[0].agent().context("it was started")?.wait(SOON)?;
        ensure!(end.success(), "{end}");
        kept.await_end()
    })
}

#[test]
fn a_dead_member_gets_no_flows_because_an_agent_restarts() -> Result<()> {
    with_site("a_dead_member_gets_no_flows_because_an_agent_restarts", &edges(3), |lab, _| {
        await_all_up(lab)?;
        let peers = dump(&lab.edges[0])?["peers"].clone();
        let dead = peers.as_array().and_then(|all| all.iter().find(|peer| peer["name"] == "edge-2").cloned());
        let dead = dead.context("edge-2 is a peer")?["id"].as_u64().context("it has an id")?;
        let opens = |node: &Node| -> Result<bool> {
            Ok(rows(node)?.iter().any(|row| u64::from(row.opener()) == dead))
        };
        lab.edges[1].kill_agent()?;
        eventually("edge-2 is down", SOON, || expect_state(&lab.edges[0], "edge-2", "down"))?;
        until("its rows are others'", SOON, || opens(&lab.edges[0]).is_ok_and(|opens| !opens))?;
        let mut before = Vec::new();
        for follows in [false, true] {
            if follows {
                before.push(lab.edges[0].start_next_agent(&[])?);
            } else {
                lab.edges[0].kill_agent()?;
                lab.edges[0].start_agent(&[])?;
            }
            let first = &lab.edges[0];
            let expect_passed_over = || {
                ensure!(!opens(first)?, "new flows open at edge-2 again");
                ensure!(is_passed_over(first, dead)?, "new flows go to edge-2 where rows ask it first");
                Ok(())
            };
            eventually("the next agent knows that edge-2 is down", SOON, || {
                if let Err(error) = expect_passed_over() {
                    return Ok(Err(error));
                }
                expect_state(first, "edge-2", "down").map(Ok)
            })??;
            lab.edges[0].await_ready()?;
            ensure!(!opens(&lab.edges[0])? && is_passed_over(&lab.edges[0], dead)?, "follows: {follows}");
        }
        Ok(())
    })
}

/// Whether the kernel of this node opens no flows at a member, whatever rows say.
fn is_passed_over(node: &Node, id: u64) -> Result<bool> {
    let pin = Pins::new(node.bpffs().join("edgelb")).map(name::MEMBERS);
    let members: Array<_, Member> = Array::try_from(Map::Array(MapData::from_pin(pin)?))?;
    Ok(members.get(&u32::try_from(id)?, 0)?.flags & member::DOWN != 0)
}

fn vip(lab: &Lab) -> SocketAddr {
    SocketAddr::new(lab.vip().v4.into(), 80)
}

/// A connection that is at this node.
pub(crate) fn hold(lab: &Lab, node: &str) -> Result<Connection<TcpStream>> {
    hold_at(lab, vip(lab), node)
}

/// A connection to a VIP that is at this node.
pub(crate) fn hold_at(lab: &Lab, to: SocketAddr, node: &str) -> Result<Connection<TcpStream>> {
    for _ in 0..256 {
        let mut connection = connect(lab, to)?;
        if owner(lab, &mut connection, SHOP)?.name == node {
            return Ok(connection);
        }
    }
    anyhow::bail!("of 256 connections, none came to {node}")
}

pub(crate) fn openers(rows: &[Row]) -> Vec<MemberId> {
    rows.iter().map(|row| row.opener()).collect()
}

/// Whether each row has its opener and nobody else.
pub(crate) fn is_alone(rows: &[Row]) -> bool {
    rows.iter().all(|row| owners(row).len() == 1)
}

/// Waits until all nodes have such rows, each the same.
pub(crate) fn await_rows(lab: &Lab, what: &str, is_it: impl Fn(&[Row]) -> bool) -> Result<()> {
    eventually(what, SOON, || {
        ensure!(is_it(&agreed(lab).with_context(|| said(lab))?), "other rows: {}", said(lab));
        Ok(())
    })
}

/// Waits until each node, in its own time, has others open flows than these.
pub(crate) fn await_other_openers(lab: &Lab, what: &str, before: &[MemberId]) -> Result<()> {
    eventually(what, SOON, || {
        for node in &lab.edges {
            ensure!(openers(&rows(node)?) != before, "{}: {}", node.name, said(lab));
        }
        Ok(())
    })
}

/// What the nodes say of it.
fn said(lab: &Lab) -> String {
    let said =
        |node| dump(node).map_or_else(|error| error.to_string(), |dump| dump["memberships"].to_string());
    lab.edges.iter().map(said).collect::<Vec<_>>().join("\n")
}

/// The rows that are in force on all nodes.
fn agreed(lab: &Lab) -> Result<Vec<Row>> {
    let first = rows(&lab.edges[0])?;
    for node in &lab.edges[1..] {
        ensure!(rows(node)? == first, "{} has other rows", node.name);
    }
    Ok(first)
}

/// The rows that are in force on a node. In a thread that has room: a table is read as a value of half a megabyte.
pub(crate) fn rows(node: &Node) -> Result<Vec<Row>> {
    thread::scope(|scope| {
        let reader = thread::Builder::new().stack_size(16 << 20);
        let read = reader.spawn_scoped(scope, || read(node))?.join();
        read.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn read(node: &Node) -> Result<Vec<Row>> {
    let pins = Pins::new(node.bpffs().join("edgelb"));
    let open = |name| MapData::from_pin(pins.map(name)).with_context(|| format!("{name} of {}", node.name));
    let heads: Array<_, TableHead> = Array::try_from(Map::Array(open(name::TABLES)?))?;
    let slots: Array<_, Rows> = Array::try_from(Map::Array(open(name::ROWS)?))?;
    let rows = slots.get(&heads.get(&0, 0)?.slot, 0)?;
    Ok(rows.iter().map(|&row| Row::from_bits(row)).collect())
}

fn owners(row: &Row) -> Vec<MemberId> {
    row.members().into_iter().filter(|&member| member != 0).collect()
}
