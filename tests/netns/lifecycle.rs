//! The agent's life on a node: start, death, return, removal, and what stops it from starting.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::lab::manifests::ingress;
use lb_tests::lab::netlink::{End, routes, xdp_programs};
use lb_tests::lab::site::{SHOP, Site};
use lb_tests::lab::spread::{measure, owner};
use lb_tests::lab::wait::eventually;
use lb_tests::lab::{Lab, Node, UPLINK, run};

use crate::{connect, edges, with_site};

const END: Duration = Duration::from_secs(10);

#[test]
fn the_kernel_goes_on_without_the_agent_and_the_agent_comes_back() -> Result<()> {
    let test = "the_kernel_goes_on_without_the_agent_and_the_agent_comes_back";
    with_site(test, &edges(2), |lab, _| {
        let to = SocketAddr::new(lab.vip().v4.into(), 80);
        // All packets go to the node whose agent dies: what the other one gets, its kernel sends.
        lab.spread_vips(&[&lab.edges[0]])?;
        let mut connections = Vec::new();
        for _ in 0..32 {
            let mut connection = connect(lab, to)?;
            if owner(lab, &mut connection, SHOP)?.name == "edge-2" {
                connections.push(connection);
            }
        }
        ensure!(!connections.is_empty(), "edge-2 owns no flow of 32");
        let (pins, programs) = (pins(&lab.edges[0])?, programs(&lab.edges[0])?);
        lab.edges[0].kill_agent()?;
        for connection in &mut connections {
            assert_eq!(owner(lab, connection, SHOP)?.name, "edge-2");
        }
        assert_eq!(self::pins(&lab.edges[0])?, pins);
        assert_eq!(self::programs(&lab.edges[0])?, programs);
        lab.edges[0].run_agent(&[])?;
        for connection in &mut connections {
            assert_eq!(owner(lab, connection, SHOP)?.name, "edge-2");
        }
        assert_eq!(self::pins(&lab.edges[0])?, pins);
        // The other node has to see for a while that it answers again.
        eventually("both nodes own new flows", END, || {
            let spread = measure(lab, to, SHOP, 64, || {})?;
            ensure!(spread.values().all(|&count| count > 0), "{spread:?}");
            Ok(())
        })
    })
}

/// So many Ingresses that reading them takes longer than opening the admin socket.
const MANY: usize = 2_000;

#[test]
fn readiness_waits_for_the_whole_first_state() -> Result<()> {
    run("readiness_waits_for_the_whole_first_state", &edges(1), |lab| {
        let hosts: Vec<String> = (0..MANY).map(|n| format!("host-{n}.example.org")).collect();
        let all: Vec<String> = hosts.iter().map(|host| ingress(host, &[(host, "/", "shop")], &[])).collect();
        Site::publish(lab)?;
        lab.manifests.write("many.yaml", &all.join("---\n"))?;
        lab.edges[0].start_agent(&[])?;
        let mut refused = 0;
        eventually("readiness", END, || {
            let status = lab.edges[0].admin("/readyz")?.status;
            refused += usize::from(status == 503);
            ensure!(status == 200, "{status}");
            Ok(())
        })?;
        ensure!(refused > 0, "ready from the start, with {MANY} Ingresses to read");
        let mut connection = connect(lab, SocketAddr::new(lab.vip().v4.into(), 80))?;
        for host in &hosts {
            let status = connection.fetch(host, "/")?.status;
            ensure!(status == 200, "{host}: {status} at once after readiness");
        }
        Ok(())
    })
}

#[test]
fn health_tells_whether_the_agent_is_ready() -> Result<()> {
    with_site("health_tells_whether_the_agent_is_ready", &edges(1), |lab, _| {
        let node = &mut lab.edges[0];
        let (status, text) = node.lb_agent(&["health"])?;
        ensure!(status.success(), "{text}");
        node.kill_agent()?;
        let (status, text) = node.lb_agent(&["health"])?;
        assert_eq!(status.code(), Some(1), "{text}");
        Ok(())
    })
}

#[test]
fn uninstall_leaves_nothing() -> Result<()> {
    run("uninstall_leaves_nothing", &edges(1), |lab| {
        let routes_before = own_routes(&lab.edges[0])?;
        let pins_before = pins(&lab.edges[0])?;
        Site::publish(lab)?;
        lab.run_agents()?;
        assert!(routes(&lab.edges[0].namespace)?.contains(&lab.vip().v4.into()), "the VIP has a local route");
        let node = &mut lab.edges[0];
        node.agent().context("it was started")?.stop()?;
        assert_eq!(programs(node)?.len(), 1, "kept on exit");
        let (status, text) = node.lb_agent(&["uninstall"])?;
        ensure!(status.success(), "{text}");
        assert!(programs(node)?.is_empty());
        assert_eq!(pins(node)?, pins_before);
        assert_eq!(own_routes(node)?, routes_before);
        Ok(())
    })
}

#[test]
fn a_missing_interface_is_named() -> Result<()> {
    run("a_missing_interface_is_named", &edges(1), |lab| {
        let text = expect_failure(lab, &["--interface", "nosuch0"])?;
        assert!(text.contains("nosuch0"), "{text}");
        Ok(())
    })
}

#[test]
fn a_foreign_program_on_the_interface_is_left_alone() -> Result<()> {
    run("a_foreign_program_on_the_interface_is_left_alone", &edges(1), |lab| {
        lab.edges[0].attach_foreign_xdp()?;
        let before = programs(&lab.edges[0])?;
        let text = expect_failure(lab, &[])?;
        assert!(text.contains(UPLINK) && text.contains("XDP"), "{text}");
        assert_eq!(programs(&lab.edges[0])?, before);
        Ok(())
    })
}

#[test]
fn a_start_that_fails_leaves_nothing_in_the_kernel() -> Result<()> {
    run("a_start_that_fails_leaves_nothing_in_the_kernel", &edges(1), |lab| {
        let before = pins(&lab.edges[0])?;
        let _taken = lab.edges[0].namespace.run(|| std::net::TcpListener::bind("127.0.0.1:6082"))?;
        let text = expect_failure(lab, &[])?;
        assert!(text.contains("127.0.0.1:6082"), "{text}");
        fs::remove_dir(lab.folder().join("manifests"))?;
        let text = expect_failure(lab, &["--admin", ""])?;
        assert!(text.contains("manifests folder"), "{text}");
        assert_eq!(pins(&lab.edges[0])?, before);
        assert!(programs(&lab.edges[0])?.is_empty());
        Ok(())
    })
}

/// Starts the agent, which must end with exit code 1; what it said.
fn expect_failure(lab: &mut Lab, arguments: &[&str]) -> Result<String> {
    let agent = lab.edges[0].start_agent(arguments)?;
    let status = agent.wait(END)?;
    assert_eq!(status.code(), Some(1), "{}", agent.log());
    Ok(agent.log())
}

/// All routes but those of link-local addresses, which the kernel makes in its own time.
fn own_routes(node: &Node) -> Result<BTreeSet<IpAddr>> {
    let is_link_local = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    Ok(routes(&node.namespace)?.into_iter().filter(|address| !is_link_local(address)).collect())
}

fn programs(node: &Node) -> Result<Vec<u32>> {
    xdp_programs(End { namespace: &node.namespace, interface: UPLINK })
}

/// All that is pinned on the node.
fn pins(node: &Node) -> Result<BTreeSet<std::path::PathBuf>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![node.bpffs().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    Ok(found)
}
