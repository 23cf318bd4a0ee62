//! A lab in which an event is played: raised as the event wants it, and what events do to it.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_common::verdict::Verdict;
use nix::sys::signal::Signal;
use serde::Serialize;

use super::event::{Event, Hops};
use super::fate::Flow;
use super::picture::{Nodes, members_in_force, openers};
use crate::lab::site::Site;
use crate::lab::wait::eventually;
use crate::lab::{Lab, Node, Process, Topology};

/// How long a change may take until all agents have it.
const SOON: Duration = Duration::from_secs(20);

/// Old agents end their own connections when they are done, not when a short grace is over.
pub const GRACE: [&str; 2] = ["--grace", "600"];

/// The same, for agents without a second chance.
const ALONE: [&str; 3] = ["--grace", "600", "--no-second-chance"];

/// Who shares out the packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// edgelb as it is.
    Edgelb,
    /// edgelb without the second chance: plain consistent hashing.
    ConsistentHashing,
    /// No edgelb: each node answers what the router sends it.
    RandomEcmp,
}

impl Mode {
    /// For people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Edgelb => "edgelb",
            Self::ConsistentHashing => "baseline: plain consistent hashing",
            Self::RandomEcmp => "baseline: ECMP alone",
        }
    }

    /// What the agents are started with.
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Edgelb | Self::RandomEcmp => &GRACE,
            Self::ConsistentHashing => &ALONE,
        }
    }
}

/// A lab with an event's nodes.
#[derive(Debug)]
pub struct Stage {
    /// The lab.
    pub lab: Lab,
    /// Who shares out the packets.
    pub mode: Mode,
    /// The connections that are held.
    pub flows: Vec<Flow>,
    /// Openers of the flows, before the event and after each change of members.
    pub openings: Vec<Nodes>,
    /// Agents that were followed by others, and finish what they have.
    former: Vec<Process>,
}

impl Stage {
    /// Raises it.
    ///
    /// # Errors
    /// Those of the lab.
    pub fn raise(event: &Event, mode: Mode) -> Result<Self> {
        let lab = Lab::start(&Topology { edges: event.nodes, ..Topology::default() })?;
        Site::publish(&lab)?;
        let mut stage = Self { lab, mode, flows: Vec::new(), openings: Vec::new(), former: Vec::new() };
        stage.write_members(event.out)?;
        stage.let_the_router_see_links()?;
        if mode == Mode::RandomEcmp {
            let vip = stage.lab.vip();
            stage.lab.edges.iter_mut().try_for_each(|node| node.start_plain_proxy(vip))?;
            stage.lab.edges.iter_mut().try_for_each(Node::await_ready)?;
        } else {
            stage.lab.run_agents_with(mode.arguments())?;
        }
        let all: Vec<usize> = (0..stage.lab.edges.len()).collect();
        stage.spread(match event.hops {
            Hops::All => &all,
            Hops::Members => &all[..all.len() - event.out.len()],
            Hops::AllButLast => &all[..all.len() - 1],
            Hops::First => &all[..1],
        })?;
        Ok(stage)
    }

    /// As routers of the field: a next hop whose link is down gets no packets.
    fn let_the_router_see_links(&self) -> Result<()> {
        for node in &self.lab.edges {
            for family in ["ipv4", "ipv6"] {
                let key = format!("{family}/conf/{}/ignore_routes_with_linkdown", node.name);
                self.lab.router.set_sysctl(&key, "1")?;
            }
        }
        Ok(())
    }

    /// Makes the router spread the VIPs over these nodes.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn spread(&self, nodes: &[usize]) -> Result<()> {
        self.lab.spread_vips(&nodes.iter().map(|&node| &self.lab.edges[node]).collect::<Vec<_>>())
    }

    /// Makes all nodes but these members, and waits until all agents have it.
    ///
    /// # Errors
    /// If one does not in time.
    pub fn set_members(&mut self, out: &[usize]) -> Result<()> {
        self.write_members(out)?;
        if self.mode == Mode::RandomEcmp {
            return Ok(());
        }
        let is_in = |(index, node): (usize, &Node)| (!out.contains(&index)).then(|| node.name.clone());
        let expected: BTreeSet<String> = self.lab.edges.iter().enumerate().filter_map(is_in).collect();
        for node in &self.lab.edges {
            eventually("the change of members", SOON, || {
                let now = members_in_force(node)?;
                let now: BTreeSet<String> = now.into_iter().map(|member| member.name).collect();
                ensure!(now == expected, "{} knows {now:?}", node.name);
                Ok(())
            })?;
        }
        self.note_openers()
    }

    fn write_members(&self, out: &[usize]) -> Result<()> {
        let out: Vec<&str> = out.iter().map(|&node| self.lab.edges[node].name.as_str()).collect();
        self.lab.write_nodes(&out).map(drop)
    }

    /// Remembers at which members the flows' buckets open now.
    ///
    /// # Errors
    /// If no agent answers.
    pub fn note_openers(&mut self) -> Result<()> {
        if self.mode != Mode::RandomEcmp {
            self.openings.push(openers(&self.lab, &self.flows)?);
        }
        Ok(())
    }

    /// Starts the next agent on a node, waits until it has taken over, and tells the one before to finish.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn renew_agent(&mut self, node: usize) -> Result<()> {
        let node = &mut self.lab.edges[node];
        let before = node.start_next_agent(&GRACE)?;
        node.await_ready()?;
        before.signal(Signal::SIGTERM)?;
        self.former.push(before);
        Ok(())
    }

    /// Packets by node and verdict, of the nodes whose agents answer.
    #[must_use]
    pub fn packets(&self) -> Packets {
        let counted = self.lab.edges.iter().filter_map(|node| {
            let text = String::from_utf8(node.admin("/metrics").ok()?.body).ok()?;
            let counts = text.lines().filter_map(verdict).map(|(label, count)| (label.to_owned(), count));
            Some((node.name.clone(), counts.collect()))
        });
        counted.collect()
    }
}

/// Packets by node and verdict.
pub type Packets = BTreeMap<String, BTreeMap<String, f64>>;

/// A line of the metrics that counts packets; whatever verdicts there are.
fn verdict(line: &str) -> Option<(&str, f64)> {
    let (label, value) = line.strip_prefix("lb_l4_packets_total{verdict=\"")?.split_once("\"} ")?;
    // Not for a VIP, so no part of what is measured.
    (label != Verdict::NotForVip.label()).then_some((label, value.parse().ok()?))
}

/// Time that is part of an event: what goes on meanwhile is what it is about.
pub fn pass(time: Duration) {
    thread::sleep(time);
}

/// What an event did, as far as counting must know.
#[derive(Clone, Debug)]
pub struct Played {
    /// When it began.
    pub began: Instant,
    /// Nodes that died, and the connections that they held with them.
    pub dead: Vec<usize>,
    /// Nodes whose agent was replaced, stopped or stalled.
    pub touched: Vec<usize>,
    /// When a drain's deadline was over.
    pub deadline: Option<Instant>,
    /// What is worth to be said.
    pub notes: Vec<String>,
}

impl Played {
    /// An event that begins now.
    #[must_use]
    pub fn now() -> Self {
        let (dead, touched, notes) = (Vec::new(), Vec::new(), Vec::new());
        Self { began: Instant::now(), dead, touched, deadline: None, notes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_whatever_they_are_called() {
        assert_eq!(verdict("lb_l4_packets_total{verdict=\"sent\"} 12"), Some(("sent", 12.0)));
        assert_eq!(verdict("lb_l4_packets_total{verdict=\"held_third\"} 3"), Some(("held_third", 3.0)));
        assert_eq!(verdict("lb_l4_packets_total{verdict=\"not_for_vip\"} 3"), None);
        assert_eq!(verdict("lb_l4_bytes_total{verdict=\"sent\"} 3"), None);
    }
}
