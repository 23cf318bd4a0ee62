//! A node whose clock on the wall is set while connections live. Its agent sees it so alone, by libfaketime: the machine's own
//! clock, which is everybody's, is left alone.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use k8s_openapi::jiff::Timestamp;
use lb_tests::lab::http::Connection;
use lb_tests::lab::site::{SHOP, Site};
use lb_tests::lab::wait::eventually;
use lb_tests::lab::{Lab, Node, run, tls};
use serde_json::Value;

use crate::liveness::{await_all_up, dump, expect_state};
use crate::membership::{await_rows, is_alone};
use crate::spread::{ask, hold_some};
use crate::{PATIENCE, connect, edges};

/// Seconds that the clock is off, one jump after the other.
const JUMPS: [i64; 3] = [3600, -3600, 0];

/// Longer than silence is borne, and than a key's file is not looked at.
const AFTER: Duration = Duration::from_secs(7);

/// Seconds that a line of the log may be late.
const LATE: i64 = 30;

/// Of each kind.
const HELD: usize = 24;

#[test]
fn a_clock_that_jumps_breaks_nothing() -> Result<()> {
    run("a_clock_that_jumps_breaks_nothing", &edges(3), |lab| {
        Site::publish(lab)?;
        let clock = Clock::of(&mut lab.edges[1], lab.manifests.folder())?;
        lab.run_agents()?;
        await_all_up(lab)?;
        await_rows(lab, "nobody needs what may have been before", is_alone)?;
        let known = known(lab)?;
        let (v4, v6) = (lab.vip().v4.into(), lab.vip().v6.into());
        let mut held = hold_some(lab, SocketAddr::new(v4, 80), HELD)?;
        held.extend(hold_some(lab, SocketAddr::new(v6, 80), HELD)?);
        ensure!(held.iter().any(|(_, owner)| *owner == lab.edges[1].name), "none is at the node");
        let mut secured = connect_secured(lab)?;
        for jump in JUMPS {
            clock.set(jump)?;
            let start = Instant::now();
            while start.elapsed() < AFTER {
                let after = || format!("{:?} after the clock went to {jump} s", start.elapsed());
                ask(lab, &mut held).with_context(after)?;
                ensure!(secured.fetch(SHOP, "/").with_context(after)?.status == 200);
                serve(lab).with_context(after)?;
            }
            eventually("its agent sees it", PATIENCE, || {
                serve(lab)?;
                clock.expect(jump)
            })?;
            expect_calm(lab, &known)?;
        }
        Ok(())
    })
}

/// New connections of each kind.
fn serve(lab: &Lab) -> Result<()> {
    for vip in lab.vip().both() {
        let answer = connect(lab, SocketAddr::new(vip, 80))?.fetch(SHOP, "/")?;
        ensure!(answer.status == 200, "{answer:?}");
    }
    let answer = connect_secured(lab)?.fetch(SHOP, "/")?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

fn connect_secured(lab: &Lab) -> Result<Connection<tls::Stream<std::net::TcpStream>>> {
    let stream = lab.client.connect(SocketAddr::new(lab.vip().v4.into(), 443), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(Connection::new(tls::handshake(&lab.authority, SHOP, stream)?))
}

/// Of each node: its memberships and its flow keys.
fn known(lab: &Lab) -> Result<Vec<[Value; 3]>> {
    let known = |node: &Node| -> Result<[Value; 3]> {
        let memberships = dump(node)?["memberships"].clone();
        Ok(["agreed", "absences", "flow_keys"].map(|part| memberships[part].clone()))
    };
    lab.edges.iter().map(known).collect()
}

/// Nobody was taken for dead, and nothing is another membership or key.
fn expect_calm(lab: &Lab, before: &[[Value; 3]]) -> Result<()> {
    let now = known(lab)?;
    ensure!(now == before, "{now:?}, not {before:?}");
    for node in &lab.edges {
        for peer in lab.edges.iter().filter(|peer| peer.name != node.name) {
            expect_state(node, &peer.name, "up")?;
            let flaps = node.metric(&format!("lb_l4_peer_flaps_total{{member=\"{}\"}}", peer.name))?;
            ensure!(flaps == 0.0, "{} took {} for dead", node.name, peer.name);
        }
    }
    Ok(())
}

/// A node's clock on the wall, as its agent sees it.
struct Clock {
    /// How far it is off.
    file: PathBuf,
    /// Where the agent says what time it is.
    log: PathBuf,
}

impl Clock {
    /// Gives one to the agents that are started there from now on.
    fn of(node: &mut Node, beside: &Path) -> Result<Self> {
        let clock = Self { file: beside.with_file_name("clock"), log: beside.with_file_name("clock.log") };
        clock.set(0)?;
        let path = |path: &Path| path.display().to_string();
        node.environment.extend([
            ("LD_PRELOAD", path(&library()?)),
            ("FAKETIME_TIMESTAMP_FILE", path(&clock.file)),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            // Nobody sets it.
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("EDGELB_ACCESS_LOG", path(&clock.log)),
        ]);
        Ok(clock)
    }

    /// Sets it, in one step.
    fn set(&self, seconds: i64) -> Result<()> {
        let draft = self.file.with_extension("draft");
        fs::write(&draft, format!("{seconds:+}\n"))?;
        Ok(fs::rename(draft, &self.file)?)
    }

    /// Whether the agent's last words are of so many seconds later than now.
    fn expect(&self, seconds: i64) -> Result<()> {
        let log = fs::read_to_string(&self.log)?;
        let line: Value = serde_json::from_str(log.lines().last().context("it logged nothing")?)?;
        let told: Timestamp = line["time"].as_str().context("it says no time")?.parse()?;
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let off = told.as_second() - now - seconds;
        ensure!((-LATE..LATE).contains(&off), "{line}: {off} s off");
        Ok(())
    }
}

/// Debian has it in a folder of the machine's architecture.
fn library() -> Result<PathBuf> {
    let folders = fs::read_dir("/usr/lib")?.filter_map(|entry| Some(entry.ok()?.path()));
    let found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.context("libfaketime is missing; this would help: apt-get install -y faketime")
}
