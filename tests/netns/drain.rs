//! A node that drains: told by its operator or by SIGTERM, and what the network sends to it meanwhile.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::lab::address::{VIPS_V4, VIPS_V6};
use lb_tests::lab::netlink::next_hops;
use lb_tests::lab::site::SHOP;
use lb_tests::lab::spread::owner;
use lb_tests::lab::wait::eventually;
use lb_tests::lab::{Lab, run};

use crate::liveness::await_all_up;
use crate::membership::{await_other_openers, await_rows, hold, is_alone, openers, rows};
use crate::{connect, edges, with_site};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_node_that_drains_is_not_attracted() -> Result<()> {
    with_site("a_node_that_drains_is_not_attracted", &edges(2), |lab, _| {
        let announcing = lab.announce()?;
        spread_over(lab, &[0, 1])?;
        let (status, text) = lab.edges[0].lb_agent(&["drain"])?;
        ensure!(status.success() && text.starts_with("draining"), "{text}");
        spread_over(lab, &[1])?;
        let readiness = lab.edges[0].admin("/readyz")?;
        ensure!(readiness.status == 503, "{readiness:?}");
        // What comes all the same is served.
        let to = SocketAddr::new(lab.vip().v4.into(), 80);
        for _ in 0..32 {
            owner(lab, &mut connect(lab, to)?, SHOP)?;
        }
        let (status, text) = lab.edges[0].lb_agent(&["drain", "--cancel"])?;
        ensure!(status.success() && text == "not draining\n", "{text}");
        spread_over(lab, &[0, 1])?;
        ensure!(lab.edges[0].admin("/readyz")?.status == 200);
        lab.edges[0].kill_agent()?;
        spread_over(lab, &[1])?;
        lab.edges[0].run_agent(&[])?;
        spread_over(lab, &[0, 1])?;
        drop(announcing);
        Ok(())
    })
}

/// The Node's word is as good as the operator's, who has the last one.
#[test]
fn a_node_that_is_cordoned_drains() -> Result<()> {
    with_site("a_node_that_is_cordoned_drains", &edges(3), |lab, _| {
        await_rows(lab, "nobody needs what may have been before", is_alone)?;
        let announcing = lab.announce()?;
        spread_over(lab, &[0, 1, 2])?;
        let all = openers(&rows(&lab.edges[0])?);
        let mut kept = hold(lab, "edge-1")?;
        lab.cordon(&["edge-1"])?;
        spread_over(lab, &[1, 2])?;
        let readiness = lab.edges[0].admin("/readyz")?;
        let words = String::from_utf8_lossy(&readiness.body).into_owned();
        ensure!(readiness.status == 503 && words.contains("draining (cordoned)"), "{words}");
        ensure!(lab.edges[0].lb_agent(&["health", "--exclude-drain"])?.0.success(), "it works");
        await_drain(lab, "\"opens_here\": false")?;
        // Workers hear of it a little later than who asks.
        eventually("the last request of a connection", SOON, || {
            let last = kept.fetch(SHOP, "/")?;
            ensure!((last.status, last.header("connection")) == (200, Some("close")), "{last:?}");
            Ok(())
        })?;
        kept.await_end()?;
        // Half closed, it would be a flow still.
        drop(kept);
        await_other_openers(lab, "the others open nothing there", &all)?;
        let to = SocketAddr::new(lab.vip().v4.into(), 80);
        for _ in 0..32 {
            let late = owner(lab, &mut connect(lab, to)?, SHOP)?;
            ensure!(late.name != "edge-1", "a new flow opened there");
        }
        let (status, said) = lab.edges[0].lb_agent(&["drain", "--cancel"])?;
        ensure!(!status.success() && said.contains("spec.unschedulable"), "{said}");
        lab.edges[0].lb_agent(&["drain"])?;
        lab.cordon(&["edge-2"])?;
        spread_over(lab, &[2])?;
        let (status, said) = lab.edges[0].lb_agent(&["drain", "--cancel"])?;
        ensure!(status.success() && said == "not draining\n", "{said}");
        spread_over(lab, &[0, 2])?;
        lab.cordon(&[])?;
        spread_over(lab, &[0, 1, 2])?;
        drop(announcing);
        Ok(())
    })
}

#[test]
fn when_all_are_cordoned_all_go_on() -> Result<()> {
    with_site("when_all_are_cordoned_all_go_on", &edges(2), |lab, _| {
        let announcing = lab.announce()?;
        spread_over(lab, &[0, 1])?;
        lab.cordon(&["edge-1", "edge-2"])?;
        await_drain(lab, "draining (cordoned): new flows still open here")?;
        spread_over(lab, &[0, 1])?;
        let to = SocketAddr::new(lab.vip().v4.into(), 80);
        eventually("nobody is sent away", SOON, || {
            for _ in 0..32 {
                let answer = connect(lab, to)?.fetch(SHOP, "/")?;
                ensure!(answer.header("connection").is_none(), "{answer:?}");
            }
            Ok(())
        })?;
        // One that begins so does, too.
        lab.edges[0].kill_agent()?;
        lab.edges[0].start_agent(&[])?;
        spread_over(lab, &[0, 1])?;
        lab.cordon(&[])?;
        await_drain(lab, "not draining")?;
        drop(announcing);
        Ok(())
    })
}

/// Waits until the first node says this of its drain.
fn await_drain(lab: &Lab, words: &str) -> Result<()> {
    eventually(words, SOON, || {
        let report = String::from_utf8_lossy(&lab.edges[0].admin("/drain")?.body).into_owned();
        ensure!(report.contains(words), "{report}");
        Ok(())
    })
}

#[test]
fn an_operator_can_wait_for_the_end_of_a_drain() -> Result<()> {
    with_site("an_operator_can_wait_for_the_end_of_a_drain", &edges(2), |lab, _| {
        await_all_up(lab)?;
        let to = SocketAddr::new(lab.vip().v4.into(), 80);
        let all = openers(&rows(&lab.edges[0])?);
        let mut kept = hold(lab, "edge-1")?;
        let node = &lab.edges[0];
        let (status, text) = thread::scope(|scope| {
            let waiting = scope.spawn(|| node.lb_agent(&["drain", "--wait", "--deadline", "60"]));
            let told = eventually("the proxy drains", SOON, || {
                let report = node.admin("/drain")?.body;
                let report = String::from_utf8_lossy(&report).into_owned();
                ensure!(report.contains("1 connection left, the oldest"), "{report}");
                Ok(())
            });
            let last = told.and_then(|()| kept.fetch(SHOP, "/"));
            let over = waiting.join().expect("no panic");
            let closes = last?.header("connection").map(str::to_owned);
            ensure!(closes.as_deref() == Some("close"), "{closes:?}");
            over
        })?;
        ensure!(status.success() && text.ends_with("drained: no connection left\n"), "{text}");
        kept.await_end()?;
        await_other_openers(lab, "the other opens nothing there", &all)?;
        let late = owner(lab, &mut connect(lab, to)?, SHOP)?;
        assert_eq!(late.name, "edge-2", "new flows open there");
        Ok(())
    })
}

/// They are the node's, whichever of its agents has them.
#[test]
fn a_drain_ends_the_connections_of_the_agent_before_too() -> Result<()> {
    with_site("a_drain_ends_the_connections_of_the_agent_before_too", &edges(2), |lab, _| {
        await_all_up(lab)?;
        let mut kept = hold(lab, "edge-1")?;
        let mut before = lab.edges[0].run_next_agent()?;
        before.ask_to_stop()?;
        let socket = lab.edges[0].agent_socket();
        let drain = ["drain", "--wait", "--deadline", "8", "--admin-socket", &socket];
        let (status, text) = lab.edges[0].lb_agent(&drain)?;
        ensure!(status.success() && text.ends_with("drained: no connection left\n"), "{text}");
        kept.await_end()?;
        let end = before.wait(SOON)?;
        ensure!(end.success(), "{end}: {}", before.log());
        Ok(())
    })
}

/// Who takes over goes on with it, and the other node hears of no change; the agent before has no say any more.
#[test]
fn a_drain_outlasts_an_update_of_the_agent() -> Result<()> {
    with_site("a_drain_outlasts_an_update_of_the_agent", &edges(2), |lab, _| {
        await_all_up(lab)?;
        lab.edges[0].lb_agent(&["drain", "--deadline", "60"])?;
        await_drain(lab, "drained: no connection left")?;
        let mut before = lab.edges[0].start_next_agent(&[])?;
        eventually("the next agent has the packet path", SOON, || {
            let readiness = lab.edges[0].admin("/readyz?exclude=drain")?;
            ensure!(readiness.status == 200, "{readiness:?}");
            Ok(())
        })?;
        await_drain(lab, "drained: no connection left")?;
        let (status, said) = lab.edges[0].lb_agent(&["drain", "--cancel"])?;
        ensure!(!status.success() && said.contains("another agent has the packet path"), "{said}");
        before.stop()?;
        await_drain(lab, "drained: no connection left")?;
        let log = lab.edges[1].agent().context("it was started")?.log();
        ensure!(log.contains("edge-1 drains") && !log.contains("edge-1 is active again"), "{log}");
        let socket = lab.edges[0].agent_socket();
        let (status, said) = lab.edges[0].lb_agent(&["drain", "--cancel", "--admin-socket", &socket])?;
        ensure!(status.success() && said == "not draining\n", "{said}");
        // Who begins where no agent is serves.
        lab.edges[0].lb_agent(&["drain", "--admin-socket", &socket])?;
        await_drain(lab, "\"draining\": true")?;
        lab.edges[0].kill_agent()?;
        lab.edges[0].run_agent(&["--admin-socket", &socket])
    })
}

#[test]
fn an_agent_that_is_told_to_stop_drains_first() -> Result<()> {
    run("an_agent_that_is_told_to_stop_drains_first", &edges(1), |lab| {
        lb_tests::lab::site::Site::publish(lab)?;
        lab.run_agents_with(&["--grace", "8"])?;
        let to = SocketAddr::new(lab.vip().v4.into(), 80);
        let mut kept = connect(lab, to)?;
        owner(lab, &mut kept, SHOP)?;
        let mut idle = connect(lab, to)?;
        owner(lab, &mut idle, SHOP)?;
        let node = &mut lab.edges[0];
        node.agent().context("it was started")?.ask_to_stop()?;
        eventually("it drains", SOON, || {
            let status = node.admin("/readyz")?.status;
            ensure!(status == 503, "{status}");
            Ok(())
        })?;
        // Workers hear of it a little later than who asks for readiness.
        eventually("the last request of a connection", SOON, || {
            let last = kept.fetch(SHOP, "/")?;
            ensure!((last.status, last.header("connection")) == (200, Some("close")), "{last:?}");
            Ok(())
        })?;
        let end = lab.edges[0].agent().context("it was started")?.wait(SOON)?;
        ensure!(end.success(), "{end}");
        // In order: no reset.
        idle.await_end()
    })
}

/// Waits until the router spreads the VIPs over these nodes and no others.
fn spread_over(lab: &Lab, nodes: &[usize]) -> Result<()> {
    let links: Vec<_> = nodes.iter().map(|&node| lab.edges[node].link.host).collect();
    let v4: BTreeSet<IpAddr> = links.iter().map(|host| host.v4.into()).collect();
    let v6: BTreeSet<IpAddr> = links.iter().map(|host| host.v6.into()).collect();
    let prefixes = [((VIPS_V4.0.into(), VIPS_V4.1), v4), ((VIPS_V6.0.into(), VIPS_V6.1), v6)];
    eventually(&format!("routes over {nodes:?}"), SOON, || {
        for (prefix, expected) in &prefixes {
            let found: BTreeSet<IpAddr> = next_hops(&lab.router, *prefix)?.into_iter().collect();
            ensure!(found == *expected, "{found:?}");
        }
        Ok(())
    })
}
