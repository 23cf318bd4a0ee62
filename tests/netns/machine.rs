//! The agent on a machine where other things happen: a second agent, interfaces that come and go, drivers
//! without native XDP.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lb_common::verdict::Verdict;
use lb_tests::lab::address::Link;
use lb_tests::lab::capture::inject;
use lb_tests::lab::http::Connection;
use lb_tests::lab::netlink::{End, connect as veth, delete, narrow, set_mtu, set_up, xdp_programs};
use lb_tests::lab::site::{SHOP, Site};
use lb_tests::lab::wait::{eventually, until};
use lb_tests::lab::{Lab, Node, UPLINK, run};
use lb_tests::packet::{Ip, Transport};

use crate::liveness::{await_all_up, expect_state};
use crate::membership::hold;
use crate::{PATIENCE, edges, with_site};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_second_agent_leaves_the_first_alone() -> Result<()> {
    with_site("a_second_agent_leaves_the_first_alone", &edges(1), |lab, _| {
        let node = &lab.edges[0];
        let manifests = lab.folder().join("manifests").display().to_string();
        let key = node.key_file().display().to_string();
        let second = ["run", "--manifests", &manifests, "--interface", "eth0", "--hash-key-file", &key];
        // With the first one's admin socket, then with one of its own.
        let own = ["--admin", "", "--admin-socket", "/run/edgelb/second.sock"];
        for (arguments, word) in [(&second[..], "admin socket"), (&[&second[..], &own].concat(), "--bpffs")] {
            let (status, text) = node.lb_agent(arguments)?;
            assert_eq!(status.code(), Some(1), "{text}");
            assert!(text.contains("another agent") && text.contains(word), "{text}");
        }
        let (status, text) = node.lb_agent(&["uninstall"])?;
        assert_eq!(status.code(), Some(1), "{text}");
        assert!(text.contains("another agent"), "{text}");
        serves(lab)
    })
}

#[test]
fn an_interface_that_is_made_again_gets_the_program_again() -> Result<()> {
    with_site("an_interface_that_is_made_again_gets_the_program_again", &edges(1), |lab, _| {
        restart_with_second_interface(lab, "up1", |node| {
            veth(&node.namespace, "up1", &node.namespace, "far1")
        })?;
        let node = &lab.edges[0];
        assert_eq!(programs(node, "up1")?.len(), 1, "attached at the start");
        let says = |status, words: &str, is_said| {
            eventually(words, SOON, || {
                let answer = node.admin("/readyz")?;
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                ensure!(
                    answer.status == status && text.contains(words) == is_said,
                    "{}: {text}",
                    answer.status
                );
                Ok(())
            })
        };
        delete(End { namespace: &node.namespace, interface: "up1" })?;
        says(200, "no packets come in by up1: it is gone", true)?;
        veth(&node.namespace, "up1", &node.namespace, "far1")?;
        set_up(End { namespace: &node.namespace, interface: "up1" }, true)?;
        until("the program on the new interface", SOON, || {
            programs(node, "up1").is_ok_and(|programs| programs.len() == 1)
        })?;
        says(200, "no packets come in by up1", false)?;
        serves(lab)?;
        for interface in ["up1", UPLINK] {
            delete(End { namespace: &node.namespace, interface })?;
        }
        says(503, "not ready: no packets come in by", true)
    })
}

#[test]
fn a_node_whose_link_was_away_serves_again() -> Result<()> {
    with_site("a_node_whose_link_was_away_serves_again", &edges(2), |lab, _| {
        let [near, away] = &lab.edges[..] else { bail!("two nodes") };
        let before = programs(away, UPLINK)?;
        await_all_up(lab)?;
        away.link_down()?;
        eventually("it is away", PATIENCE, || expect_state(near, &away.name, "down"))?;
        away.link_up()?;
        await_all_up(lab)?;
        assert_eq!(programs(away, UPLINK)?, before, "the program stays");
        // The router has dropped its routes by the link, too.
        lab.spread_vips(&[away])?;
        let sent = away.verdict(Verdict::Sent)?;
        eventually("it serves, and knows the way to the other", PATIENCE, || {
            serves(lab)?;
            ensure!(away.verdict(Verdict::Sent)? > sent, "all were its own so far");
            Ok(())
        })
    })
}

/// Fits the uplink, but no longer when it is encapsulated, once the uplink takes less.
const LESS: u16 = 1_400;

/// The flag in an IPv4 header's field of fragments.
const DONT_FRAGMENT: u16 = 0x4000;

#[test]
fn a_change_of_the_mtu_counts_at_once() -> Result<()> {
    with_site("a_change_of_the_mtu_counts_at_once", &edges(2), |lab, _| {
        let node = &lab.edges[0];
        lab.spread_vips(&[node])?;
        for (mtu, verdict) in [(1_500, Verdict::Sent), (LESS, Verdict::ToldTooBig), (1_500, Verdict::Sent)] {
            set_mtu(End { namespace: &node.namespace, interface: UPLINK }, mtu.into())?;
            eventually(&format!("{} with {mtu} bytes", verdict.label()), PATIENCE, || {
                let before = node.verdict(verdict)?;
                long_packets(lab)?;
                ensure!(node.verdict(verdict)? > before, "no more than before");
                Ok(())
            })?;
        }
        serves(lab)
    })
}

/// Each node's own link takes what a link between them does not. What the router answers to a packet of XDP's no socket hears.
#[test]
fn an_upload_goes_on_when_the_way_to_its_owner_takes_less() -> Result<()> {
    with_site("an_upload_goes_on_when_the_way_to_its_owner_takes_less", &edges(2), |lab, _| {
        let (near, far) = (&lab.edges[0], &lab.edges[1]);
        lab.spread_vips(&[near])?;
        let mut upload = hold(lab, &far.name)?;
        ensure!(upload.post(SHOP, "/", &vec![7; UPLOAD])?.status == 200);
        let before = near.verdict(Verdict::ToldTooBig)?;
        let end = End { namespace: &lab.router, interface: &far.name };
        narrow(end, far.link.host.v4, LESS.into())?;
        let start = Instant::now();
        ensure!(upload.post(SHOP, "/", &vec![7; UPLOAD])?.status == 200);
        println!("with a smaller way, {UPLOAD} bytes took {:?}", start.elapsed());
        ensure!(near.verdict(Verdict::ToldTooBig)? > before, "its client was not told");
        Ok(())
    })
}

/// Bytes of a body: many packets of full size.
const UPLOAD: usize = 1 << 20;

/// Sends segments of several flows, so that other nodes own some, each as long as a link takes; none may be cut.
fn long_packets(lab: &Lab) -> Result<()> {
    let payload = vec![7; usize::from(LESS) - 40];
    for port in 50_000..50_016 {
        let segment = Transport::tcp(port, 80, &payload);
        let packet = Ip::new(Link::client().host.v4.into(), lab.vip().v4.into(), segment)
            .fragment(DONT_FRAGMENT)
            .summed();
        inject(&lab.client, &packet.bytes())?;
    }
    Ok(())
}

#[test]
fn generic_mode_says_why_at_each_start() -> Result<()> {
    with_site("generic_mode_says_why_at_each_start", &edges(1), |lab, _| {
        // Loopback has no native XDP.
        for start in ["first", "second"] {
            restart_with_second_interface(lab, "lo", |_| Ok(()))?;
            let snapshot: serde_json::Value =
                serde_json::from_slice(&lab.edges[0].admin("/debug/snapshot")?.body)?;
            let of = |name| {
                let all = snapshot["interfaces"].as_array();
                all.and_then(|all| all.iter().find(|interface| interface["name"] == name)).cloned()
            };
            let (uplink, lo) = (of("eth0").context("eth0")?, of("lo").context("lo")?);
            assert_eq!((&uplink["mode"], &uplink["reason"]), (&"native".into(), &serde_json::Value::Null));
            assert_eq!(lo["mode"], "generic", "{start} start");
            assert!(
                lo["reason"].as_str().is_some_and(|why| why.contains("the driver refused")),
                "{start}: {lo}"
            );
        }
        serves(lab)
    })
}

#[test]
fn a_node_apart_is_said() -> Result<()> {
    with_site("a_node_apart_is_said", &edges(1), |lab, _| {
        let agent = lab.edges[0].agent().context("it was started")?;
        ensure!(agent.log().contains("this node is a member"), "{}", agent.log());
        agent.stop()?;
        lab.write_nodes(&["edge-1"])?;
        lab.edges[0].run_agent(&[])?;
        eventually("it is said", PATIENCE, || {
            let log = lab.edges[0].agent().context("it was started")?.log();
            ensure!(log.contains("no Node of this name"), "{log}");
            Ok(())
        })
    })
}

#[test]
fn a_node_without_ipv6_serves_ipv4() -> Result<()> {
    run("a_node_without_ipv6_serves_ipv4", &edges(1), |lab| {
        lab.edges[0].namespace.set_sysctl("ipv6/conf/all/disable_ipv6", "1")?;
        Site::publish(lab)?;
        lab.run_agents()?;
        serves(lab)
    })
}

/// Runs the only node's agent with one more interface, which `prepare` makes.
fn restart_with_second_interface(
    lab: &mut Lab,
    interface: &str,
    prepare: impl FnOnce(&Node) -> Result<()>,
) -> Result<()> {
    let node = &mut lab.edges[0];
    prepare(node)?;
    let status = node.agent().context("it was started")?.stop()?;
    ensure!(status.success(), "{status}");
    node.run_agent(&["--interface", interface])
}

fn serves(lab: &Lab) -> Result<()> {
    eventually("an answer", PATIENCE, || {
        let stream = lab.client.connect(SocketAddr::new(lab.vip().v4.into(), 80), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let status = Connection::new(stream).fetch(SHOP, "/")?.status;
        ensure!(status == 200, "{status}");
        Ok(())
    })
}

fn programs(node: &Node, interface: &str) -> Result<Vec<u32>> {
    xdp_programs(End { namespace: &node.namespace, interface })
}
