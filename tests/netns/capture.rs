//! `lb-agent capture` beside connections that must not notice.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_common::map::program;
use lb_tests::lab::icmp::ping;
use lb_tests::lab::pcapng::{self, Packet};
use lb_tests::lab::site::SHOP;
use lb_tests::lab::spread::owner;
use lb_tests::lab::wait::eventually;
use lb_tests::lab::{Lab, Node, Process, UPLINK};

use crate::liveness::await_all_up;
use crate::takeover::Calls;
use crate::{PATIENCE, connect, edges, with_site};

/// On a machine that does much else, too.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn captures_say_where_packets_go_and_no_connection_notices() -> Result<()> {
    with_site("captures_say_where_packets_go_and_no_connection_notices", &edges(2), |lab, _| {
        await_all_up(lab)?;
        let to = SocketAddr::new(lab.vip().v4.into(), 80);
        let mut kept = connect(lab, to)?;
        let client = kept.stream().local_addr()?;
        let holder = owner(lab, &mut kept, SHOP)?;
        let other = lab.edges.iter().find(|node| node.name != holder.name).context("two nodes")?;
        // Packets come in at the node that does not have the connection.
        lab.spread_vips(&[other])?;
        let calls = Calls::default();
        calls.during(&lab.client.clone(), &[to], || {
            let mut captures = [holder, other]
                .map(|node| write(lab, node, &to.to_string()))
                .into_iter()
                .collect::<Result<Vec<_>>>()?;
            calls.some_more()?;
            owner(lab, &mut kept, SHOP).context("a connection of before, while it is captured")?;
            says_who_captures(other)?;
            knows_its_own_program(other, client, to)?;
            for (node, capture) in [holder, other].into_iter().zip(&mut captures) {
                let end = capture.stop()?;
                ensure!(end.success(), "{}: {end}: {}", node.name, capture.log());
                ensure!(
                    capture.log().contains(" packets told, 0 lost for want of room: told to end"),
                    "{}",
                    capture.log()
                );
                runs(node, program::XDP)?;
            }
            calls.some_more()?;
            owner(lab, &mut kept, SHOP).context("a connection of before, afterwards").map(drop)
        })?;
        let sent = format!("sent to {} (place ", holder.name);
        let at_other = of(&lab.folder().join(&other.name), client)?;
        ensure!(at_other.iter().any(|packet| packet.comment.starts_with(&sent)), "{at_other:?}");
        let at_holder = of(&lab.folder().join(&holder.name), client)?;
        let is_taken =
            |packet: &Packet| ["delivered_member", "found_first", "found_second"].contains(&&*packet.comment);
        ensure!(at_holder.iter().any(is_taken), "{at_holder:?}");
        Ok(())
    })
}

/// Asks the node's agent for a capture.
fn start(node: &Node, arguments: &[&str]) -> Result<Process> {
    let socket = node.agent_socket();
    node.start_lb_agent("capture", &[&["capture", "--admin-socket", &socket], arguments].concat())
}

/// Begins a capture into a file of the node's name.
pub(crate) fn write(lab: &Lab, node: &Node, to: &str) -> Result<Process> {
    let file = lab.folder().join(&node.name);
    let file = file.to_str().context("a path in UTF-8")?;
    let arguments = ["--to", to, "--count", "1000000", "--seconds", "600", "-w", file];
    let mut capture = start(node, &arguments)?;
    await_capture(node, &mut capture)?;
    Ok(capture)
}

/// Until it says so: the program is there before that, and an agent that ended in between would not have answered.
fn await_capture(node: &Node, capture: &mut Process) -> Result<()> {
    eventually("the capture's beginning", SOON, || {
        ensure!(capture.ended()?.is_none(), "it has ended: {}", capture.log());
        ensure!(capture.log().contains("capturing: ends after "), "it says nothing: {}", capture.log());
        Ok(())
    })?;
    runs(node, program::CAPTURE)
}

/// Which program is on the uplink.
fn runs(node: &Node, program: &str) -> Result<()> {
    let (_, text) = node.lb_agent(&["doctor", "--interface", UPLINK])?;
    ensure!(text.contains(&format!("ours ({program}, id ")), "{}: no {program}:\n{text}", node.name);
    Ok(())
}

fn says_who_captures(node: &Node) -> Result<()> {
    let (status, text) = node.lb_agent(&["capture", "--drops"])?;
    ensure!(status.code() == Some(1) && text.contains(" captures already, since "), "{status}: {text}");
    ensure!(text.contains(" (--to ") && text.contains("one at a time"), "{text}");
    Ok(())
}

/// `explain` asks the ordinary program, and knows that the other one does the same.
fn knows_its_own_program(node: &Node, from: SocketAddr, to: SocketAddr) -> Result<()> {
    let (from, to) = (from.to_string(), to.to_string());
    let (status, text) = node.lb_agent(&["explain", "--from", &from, "--to", &to])?;
    ensure!(status.success() && !text.contains("another version"), "{status}: {text}");
    Ok(())
}

/// The packets of a file that say a client's port, in whatever header.
fn of(file: &Path, client: SocketAddr) -> Result<Vec<Packet>> {
    ensure!(fs::metadata(file)?.permissions().mode() & 0o077 == 0, "packets are for their owner only");
    let mut packets = pcapng::read(&fs::read(file)?)?;
    ensure!(packets.iter().all(|packet| packet.interface == UPLINK), "{packets:?}");
    let port = [client.port().to_be_bytes(), 80_u16.to_be_bytes()].concat();
    packets.retain(|packet| packet.bytes.windows(4).any(|bytes| bytes == port));
    Ok(packets)
}

#[test]
fn whatever_ends_a_capture_the_next_program_is_the_ordinary_one() -> Result<()> {
    with_site("whatever_ends_a_capture_the_next_program_is_the_ordinary_one", &edges(1), |lab, _| {
        let vip = lab.vip().v4.into();
        // As many as were asked for, as text.
        let mut capture = begin(lab, &["--proto", "icmp", "--verdict", "echoed", "--count", "1"])?;
        ping(&lab.client, vip, PATIENCE)?;
        let end = capture.wait(SOON)?;
        ensure!(end.success() && capture.log().contains(" icmp type 8 code 0, "), "{end}: {}", capture.log());
        ensure!(capture.log().contains(": echoed\n1 packets told, "), "{}", capture.log());
        runs(&lab.edges[0], program::XDP)?;
        // Time.
        let mut capture = start(&lab.edges[0], &["--drops", "--seconds", "1"])?;
        let end = capture.wait(SOON)?;
        ensure!(end.success() && capture.log().contains(": 1 s are over"), "{end}: {}", capture.log());
        runs(&lab.edges[0], program::XDP)?;
        // A client that is gone.
        begin(lab, &[])?.kill()?;
        eventually("the ordinary program", SOON, || runs(&lab.edges[0], program::XDP))?;
        // An agent that hands over.
        let mut capture = begin(lab, &[])?;
        let before = lab.edges[0].run_next_agent()?;
        let end = capture.wait(SOON)?;
        ensure!(
            end.success() && capture.log().contains("gave the packet path up"),
            "{end}: {}",
            capture.log()
        );
        runs(&lab.edges[0], program::XDP)?;
        // An agent that dies: the packet path is as it was, and the next one's is the ordinary one.
        drop(before);
        let mut capture = begin(lab, &[])?;
        lab.edges[0].kill_agent()?;
        let end = capture.wait(SOON)?;
        ensure!(
            end.code() == Some(1) && capture.log().contains("the agent has ended"),
            "{end}: {}",
            capture.log()
        );
        runs(&lab.edges[0], program::CAPTURE)?;
        ping(&lab.client, vip, PATIENCE)?;
        let socket = lab.edges[0].agent_socket();
        lab.edges[0].run_agent(&["--admin-socket", &socket])?;
        runs(&lab.edges[0], program::XDP)
    })
}

/// Begins a capture on the only node, and waits until it has begun.
fn begin(lab: &Lab, arguments: &[&str]) -> Result<Process> {
    let mut capture = start(&lab.edges[0], arguments)?;
    await_capture(&lab.edges[0], &mut capture)?;
    Ok(capture)
}
