//! A flow key that is changed while members hold flows: refused and told, through restarts, updates and other layouts of
//! the maps; taken when all nodes begin anew.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_agent::l4::pins::Pins;
use lb_common::verdict::DropReason;
use lb_tests::lab::site::SHOP;
use lb_tests::lab::spread::{measure, owner};
use lb_tests::lab::wait::eventually;
use lb_tests::lab::{Lab, Node};

use crate::liveness::await_all_up;
use crate::membership::hold;
use crate::{edges, with_site};

const SOON: Duration = Duration::from_secs(20);

const OTHER: &str = "another key than the one by which flows opened";

#[test]
fn another_flow_key_is_refused_and_breaks_no_connection() -> Result<()> {
    with_site("another_flow_key_is_refused_and_breaks_no_connection", &edges(2), |lab, _| {
        await_all_up(lab)?;
        let mut kept = hold(lab, "edge-2")?;
        let first = fs::read(key_file(lab))?;
        fs::write(key_file(lab), OTHER)?;
        for node in &lab.edges {
            refuses(node)?;
            ensure!(node.metric("lb_l4_flow_key_refused")? == 1.0, "{}", node.name);
        }
        let (_, doctor) = lab.edges[0].lb_agent(&["doctor"])?;
        ensure!(doctor.contains("warn  agent            the flow key in "), "{doctor}");

        // What comes by edge-1 is for edge-2 all the same: after a crash, with maps of another layout, after an update.
        lab.spread_vips(&[&lab.edges[0]])?;
        lab.edges[0].kill_agent()?;
        lab.edges[0].run_agent(&[])?;
        goes_on(lab, &mut kept, "after a crash")?;
        lab.edges[0].kill_agent()?;
        let maps = Pins::new(lab.edges[0].bpffs().join("edgelb")).maps();
        fs::rename(&maps, maps.with_file_name("v0")).with_context(|| maps.display().to_string())?;
        lab.edges[0].run_agent(&[])?;
        goes_on(lab, &mut kept, "with another layout")?;
        lab.edges[0].run_next_agent()?.stop()?;
        goes_on(lab, &mut kept, "after an update")?;
        for node in &lab.edges {
            let refused = node.verdict(DropReason::BadTag.into())?;
            ensure!(refused == 0.0, "{} refused {refused} packets", node.name);
        }

        fs::write(key_file(lab), first)?;
        lab.edges.iter().try_for_each(is_content)
    })
}

#[test]
fn nodes_that_begin_anew_take_another_flow_key() -> Result<()> {
    with_site("nodes_that_begin_anew_take_another_flow_key", &edges(2), |lab, _| {
        fs::write(key_file(lab), OTHER)?;
        for node in &mut lab.edges {
            refuses(node)?;
            let end = node.agent().context("it was started")?.stop()?;
            ensure!(end.success(), "{end}");
            let (end, said) = node.lb_agent(&["uninstall"])?;
            ensure!(end.success(), "{said}");
        }
        for node in &mut lab.edges {
            node.run_agent(&[])?;
        }
        lab.edges.iter().try_for_each(is_content)?;
        await_all_up(lab)?;
        both_serve(lab)
    })
}

fn key_file(lab: &Lab) -> PathBuf {
    lab.folder().join("hash-key")
}

/// Waits until the node says that it refuses the key; it is ready nevertheless.
fn refuses(node: &Node) -> Result<()> {
    eventually("the refusal is told", SOON, || {
        let answer = node.admin("/readyz")?;
        let text = String::from_utf8_lossy(&answer.body);
        let is_told = text.contains("/hash-key (") && text.contains(") is refused");
        ensure!(answer.status == 200 && is_told, "{}: {text}", node.name);
        Ok(())
    })
}

/// Waits until the node refuses none.
fn is_content(node: &Node) -> Result<()> {
    eventually("no key is refused", SOON, || {
        let text = String::from_utf8_lossy(&node.admin("/readyz")?.body).into_owned();
        ensure!(!text.contains("is refused"), "{}: {text}", node.name);
        ensure!(node.metric("lb_l4_flow_key_refused")? == 0.0);
        Ok(())
    })
}

fn goes_on<S: std::io::Read + std::io::Write>(
    lab: &Lab,
    kept: &mut lb_tests::lab::http::Connection<S>,
    when: &str,
) -> Result<()> {
    refuses(&lab.edges[0]).context(when.to_owned())?;
    let name = &owner(lab, kept, SHOP).context(when.to_owned())?.name;
    ensure!(name == "edge-2", "{when}: {name}");
    both_serve(lab).context(when.to_owned())
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
