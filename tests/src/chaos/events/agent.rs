//! An agent stands still, dies, or is followed by the next one.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::flood::Flood;
use super::node::STALL;
use crate::chaos::scene::Scene;
use crate::chaos::stage::{Played, Stage, pass};
use crate::chaos::version::Version;
use crate::lab::Lab;
use crate::lab::http::Connection;
use crate::lab::site::SHOP;
use crate::lab::wait::until;

/// How long a step of an agent may take.
const SOON: Duration = Duration::from_secs(20);

/// So many good handshakes are counted under a flood.
const HANDSHAKES: usize = 100;

/// How long each of them may take.
const HANDSHAKE: Duration = Duration::from_secs(4);

/// Share of the new connections that may fail under a flood: Linux gives up the oldest half-open sockets of a full queue, and
/// refuses whose SYN-ACK was under way for longer.
const FORGOTTEN: f64 = 0.01;

/// The node whose agent it is.
const NODE: usize = 0;

fn touched(nodes: impl IntoIterator<Item = usize>) -> Played {
    Played { touched: nodes.into_iter().collect(), ..Played::now() }
}

/// SIGSTOP, and SIGCONT after a while. Meanwhile flows come in elsewhere: also there.
///
/// # Errors
/// If there is no agent.
pub fn stalled(stage: &mut Stage) -> Result<Played> {
    let played = touched([NODE]);
    let agent = stage.lab.edges[NODE].agent().context("no agent")?;
    agent.signal(Signal::SIGSTOP)?;
    stage.rehash()?;
    pass(STALL);
    let agent = stage.lab.edges[NODE].agent().context("no agent")?;
    agent.signal(Signal::SIGCONT)?;
    Ok(played)
}

/// SIGKILL; nobody starts another, and flows come in elsewhere: also there.
///
/// # Errors
/// If there is no agent.
pub fn killed(stage: &mut Stage) -> Result<Played> {
    let played = Played { dead: vec![NODE], ..Played::now() };
    stage.lab.edges[NODE].kill_agent()?;
    stage.rehash()?;
    Ok(played)
}

/// The next one on one node.
///
/// # Errors
/// If it does not take over.
pub fn restarted(stage: &mut Stage) -> Result<Played> {
    let played = touched([NODE]);
    stage.renew_agent(NODE, Version::Shipped)?;
    Ok(played)
}

/// The next one on each node, with another program.
///
/// # Errors
/// If one does not take over.
pub fn upgraded(stage: &mut Stage) -> Result<Played> {
    all_renewed(stage, Version::OtherProgram)
}

/// The same, and their programs go by other maps.
///
/// # Errors
/// If one does not take over.
pub fn upgraded_to_another_layout(stage: &mut Stage) -> Result<Played> {
    all_renewed(stage, Version::OtherLayout)
}

fn all_renewed(stage: &mut Stage, version: Version) -> Result<Played> {
    let nodes = 0..stage.lab.edges.len();
    let mut played = touched(nodes.clone());
    for node in nodes {
        played.notes.push(stage.renew_agent(node, version)?);
    }
    Ok(played)
}

/// The next one while SYNs from everywhere fill the queues.
///
/// # Errors
/// If it does not take over, or the kernel sent no cookie.
pub fn upgraded_under_flood(stage: &mut Stage) -> Result<Played> {
    let mut played = Played { may_fail: FORGOTTEN, ..touched([NODE]) };
    let flood = Flood::start(&stage.lab)?;
    until("SYN cookies", SOON, || flood.cookies(&stage.lab).is_ok_and(|sent| sent > 0))?;
    played.notes.push(stage.renew_agent(NODE, Version::OtherProgram)?);
    pass(STALL);
    let vips = stage.lab.vip().both();
    let good = (0..HANDSHAKES).filter(|number| is_answered(&stage.lab, vips[number % 2])).count();
    played.notes.push(format!(
        "{} cookies for {} forged SYNs; {good} of {HANDSHAKES} good handshakes done, and answered",
        flood.cookies(&stage.lab)?,
        flood.sent()
    ));
    Ok(played)
}

/// Whether a connection that means it gets its turn, within the time that a client's first repetitions take.
fn is_answered(lab: &Lab, vip: IpAddr) -> bool {
    let answer = || -> Result<u16> {
        let stream = lab.client.connect(SocketAddr::new(vip, 80), HANDSHAKE)?;
        stream.set_read_timeout(Some(HANDSHAKE))?;
        Ok(Connection::new(stream).fetch(SHOP, "/")?.status)
    };
    answer().is_ok_and(|status| status == 200)
}

/// To another program with another layout of maps, and back.
///
/// # Errors
/// If one does not take over.
pub fn rolled_back(stage: &mut Stage) -> Result<Played> {
    let mut played = touched([NODE]);
    for version in [Version::OtherLayout, Version::Shipped] {
        played.notes.push(stage.renew_agent(NODE, version)?);
    }
    Ok(played)
}

/// Killed when it answers its operator, and killed as soon as the one before has let go; the last one would have had
/// another layout of maps. Flows come in elsewhere each time.
///
/// # Errors
/// If the one before does not go on.
pub fn next_one_dies(stage: &mut Stage) -> Result<Played> {
    let mut played = touched([NODE]);
    let kills = [(false, Version::OtherProgram), (true, Version::OtherProgram), (true, Version::OtherLayout)];
    for (is_at_hand_over, version) in kills {
        let node = &stage.lab.edges[NODE];
        let meeting = node.hand_over_socket();
        let socket = inode(&meeting);
        ensure!(socket.is_some(), "the agent waits for no other");
        let before = stage.start_agent_of(NODE, version)?;
        let node = &mut stage.lab.edges[NODE];
        let admin = node.admin_socket();
        let is_there = || if is_at_hand_over { inode(&meeting) != socket } else { admin.exists() };
        until("the next agent", SOON, is_there)?;
        let was_ready = node.admin("/readyz").is_ok_and(|answer| answer.status == 200);
        node.kill_agent()?;
        node.agent_before(before);
        played
            .notes
            .push(format!("killed {}", if was_ready { "when it was ready" } else { "before it was ready" }));
        stage.rehash()?;
        let node = &stage.lab.edges[NODE];
        until("the agent before", SOON, || {
            inode(&meeting).is_some() && node.admin("/readyz").is_ok_and(|answer| answer.status == 200)
        })?;
    }
    Ok(played)
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|file| file.ino())
}
