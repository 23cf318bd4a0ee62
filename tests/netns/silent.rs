//! Nodes whose agents have died or stand still, while the router goes on sending to them.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_tests::lab::http::Connection;
use lb_tests::lab::site::SHOP;
use lb_tests::lab::wait::{eventually, until};
use lb_tests::lab::{Lab, Node};
use nix::sys::signal::Signal;

use crate::liveness::{await_all_up, expect_state};
use crate::membership::{is_alone, openers, rows};
use crate::{connect, edges, with_site};

const SOON: Duration = Duration::from_secs(10);

/// Former memberships have to go first.
const SETTLED: Duration = Duration::from_secs(40);

/// So many that nearly each pair of a first hop and an opener has some.
const CONNECTIONS: usize = 64;

/// Longer than what was in force during an absence stays if nobody needs it.
const NEEDED: Duration = Duration::from_secs(8);

/// Longer than a packet path takes its agent for alive.
const MISSED: Duration = Duration::from_secs(1);

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

#[test]
fn what_opened_while_an_agent_stood_still_lives_on_when_it_goes_on() -> Result<()> {
    with_site("what_opened_while_an_agent_stood_still_lives_on_when_it_goes_on", &edges(3), |lab, _| {
        settle(lab)?;
        let agent = |lab: &mut Lab, signal| lab.edges[1].agent().context("it was started")?.signal(signal);
        agent(lab, Signal::SIGSTOP)?;
        let mut connections = open_elsewhere(lab)?;
        agent(lab, Signal::SIGCONT)?;
        go_on(lab, &mut connections)
    })
}

#[test]
fn what_opened_while_there_was_no_agent_lives_on_when_one_begins() -> Result<()> {
    begins("what_opened_while_there_was_no_agent_lives_on_when_one_begins", &[])
}

/// Its maps have had no sign of life yet, so its own packet path misses none.
#[test]
fn what_opened_while_there_was_no_agent_lives_on_when_one_of_another_layout_begins() -> Result<()> {
    let test = "what_opened_while_there_was_no_agent_lives_on_when_one_of_another_layout_begins";
    begins(test, &["--other-layout"])
}

fn begins(test: &str, arguments: &[&str]) -> Result<()> {
    with_site(test, &edges(3), |lab, _| {
        settle(lab)?;
        lab.edges[1].kill_agent()?;
        let mut connections = open_elsewhere(lab)?;
        lab.edges[1].start_agent(arguments)?;
        go_on(lab, &mut connections)
    })
}

/// As on a machine that has too much to do: nobody takes anybody for down, for nobody was there to ask. Each packet path
/// missed its own agent only, and no first hop knows of the others' absence.
#[test]
fn what_opened_while_all_agents_stood_still_lives_on_when_they_go_on() -> Result<()> {
    with_site("what_opened_while_all_agents_stood_still_lives_on_when_they_go_on", &edges(3), |lab, _| {
        settle(lab)?;
        signal_all(lab, Signal::SIGSTOP)?;
        let stopped = Instant::now();
        until("packet paths go without their agents", SOON, || stopped.elapsed() > MISSED)?;
        let vip = SocketAddr::new(lab.vip().v4.into(), 80);
        let mut connections = (0..CONNECTIONS).map(|_| connect(lab, vip)).collect::<Result<Vec<_>>>()?;
        signal_all(lab, Signal::SIGCONT)?;
        let start = Instant::now();
        while start.elapsed() < NEEDED {
            request(&mut connections).with_context(|| format!("{:?} after they went on", start.elapsed()))?;
        }
        drop(connections);
        settle(lab).context("when nobody needs it, nothing is left of it")
    })
}

fn signal_all(lab: &mut Lab, signal: Signal) -> Result<()> {
    lab.edges.iter_mut().try_for_each(|edge| edge.agent().context("it was started")?.signal(signal))
}

/// A node alone has nobody to wait for.
#[test]
fn the_only_node_serves_again_as_soon_as_its_agent_does() -> Result<()> {
    with_site("the_only_node_serves_again_as_soon_as_its_agent_does", &edges(1), |lab, _| {
        lab.edges[0].kill_agent()?;
        let dead = Instant::now();
        until("its packet path goes without it", SOON, || dead.elapsed() > MISSED)?;
        lab.edges[0].run_agent(&[])?;
        eventually("it opens flows", SOON, || expect_opening(&lab.edges[0]))?;
        (0..CONNECTIONS).try_for_each(|_| serve(lab))
    })
}

/// Until rows lead to no other node than that at which flows open.
pub(crate) fn settle(lab: &Lab) -> Result<()> {
    await_all_up(lab)?;
    let all = || lab.edges.iter().map(rows).collect::<Result<Vec<_>>>();
    until("nobody needs what may have been before", SETTLED, || {
        all().is_ok_and(|all| all.iter().all(|rows| is_alone(rows)))
    })
}

/// Connections that the second node's packet path and others opened in its place.
fn open_elsewhere(lab: &Lab) -> Result<Vec<Connection<TcpStream>>> {
    let silent = Instant::now();
    for node in [&lab.edges[0], &lab.edges[2]] {
        eventually("edge-2 is down", SOON, || expect_state(node, "edge-2", "down"))?;
    }
    until("its packet path goes without it", SOON, || silent.elapsed() > MISSED)?;
    let vip = SocketAddr::new(lab.vip().v4.into(), 80);
    let mut connections = (0..CONNECTIONS).map(|_| connect(lab, vip)).collect::<Result<Vec<_>>>()?;
    request(&mut connections)?;
    Ok(connections)
}

/// Requests on each of them, until the second node opens flows again, and others have it do so.
fn go_on(lab: &mut Lab, connections: &mut [Connection<TcpStream>]) -> Result<()> {
    let is_back = || expect_opening(&lab.edges[1]).and_then(|()| expect_state(&lab.edges[0], "edge-2", "up"));
    let start = Instant::now();
    while is_back().is_err() {
        request(connections).with_context(|| format!("{:?} after its agent was back", start.elapsed()))?;
        ensure!(start.elapsed() < SOON, "it opens no flows: {:?}", is_back());
    }
    request(connections).context("after it began to open flows")?;
    let log = lab.edges[1].agent().context("it was started")?.log();
    for words in ["others open this node's flows until", "this node opens flows again: its rows lead"] {
        ensure!(log.contains(words), "its log does not say {words:?}: {log}");
    }
    Ok(())
}

fn request(connections: &mut [Connection<TcpStream>]) -> Result<()> {
    for (at, connection) in connections.iter_mut().enumerate() {
        let answer = connection.fetch(SHOP, "/").with_context(|| format!("connection {at}"))?;
        ensure!(answer.status == 200, "connection {at}: {}", answer.status);
    }
    Ok(())
}

fn expect_opening(node: &Node) -> Result<()> {
    let answer = node.admin("/readyz")?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    ensure!(answer.status == 200 && !text.contains("others open this node's flows"), "{text}");
    Ok(())
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
