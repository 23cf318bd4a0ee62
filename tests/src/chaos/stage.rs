//! A lab in which an event is played: raised as the event wants it, and what events do to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_agent::l4::keys;
use lb_common::hash::FlowKey;
use serde::Serialize;

use super::event::{Event, Hops};
use super::picture::{members, queued};
use super::scene::{Agent, Record, Scene, Watched};
use super::version::Version;
use crate::lab::address::VIPS_V4;
use crate::lab::netlink::next_hops;
use crate::lab::site::Site;
use crate::lab::wait::eventually;
use crate::lab::{Announcer, HASH_KEY, Lab, Namespace, Node, Process, Topology};

/// How long a change may take until all agents have it.
const SOON: Duration = Duration::from_secs(20);

/// Of agents without a second chance.
const ALONE: [&str; 1] = ["--no-second-chance"];

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
            Self::Edgelb | Self::RandomEcmp => &[],
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
    record: Record,
    /// By which flows open.
    pub(super) key: FlowKey,
    /// Agents that were followed by others, and finish what they have.
    pub(super) former: Vec<Process>,
    /// What nodes' agents are, of those that were followed.
    pub(super) versions: BTreeMap<usize, Version>,
    /// By whom the router learns what nodes may attract.
    announcer: Option<Announcer>,
}

impl Stage {
    /// Raises it.
    ///
    /// # Errors
    /// Those of the lab.
    pub fn raise(event: &Event, mode: Mode) -> Result<Self> {
        let lab = Lab::start(&Topology { edges: event.nodes, ..Topology::default() })?;
        Site::publish(&lab)?;
        let (record, key) = (Record::default(), keys::derive(HASH_KEY));
        let mut stage =
            Self { lab, mode, record, key, former: Vec::new(), versions: BTreeMap::new(), announcer: None };
        stage.write_members(event.out)?;
        stage.let_the_router_see_links()?;
        if mode == Mode::RandomEcmp {
            let vip = stage.lab.vip();
            stage.lab.edges.iter_mut().try_for_each(|node| node.start_plain_proxy(vip))?;
            stage.lab.edges.iter_mut().try_for_each(Node::await_ready)?;
        } else {
            stage.lab.run_agents_with(mode.arguments())?;
        }
        stage.route(event)?;
        Ok(stage)
    }

    fn route(&mut self, event: &Event) -> Result<()> {
        let all: Vec<usize> = (0..self.lab.edges.len()).collect();
        let is_told = self.mode != Mode::RandomEcmp;
        match event.hops {
            Hops::Attracting if is_told => self.announcer = Some(self.lab.announce()?),
            Hops::Elected if is_told => self.announcer = Some(self.lab.announce_at_one()?),
            Hops::All | Hops::Attracting => self.spread(&all)?,
            Hops::Members => self.spread(&all[..all.len() - event.out.len()])?,
            Hops::AllButLast => self.spread(&all[..all.len() - 1])?,
            Hops::Elected => self.spread(&all[..1])?,
        }
        match event.hops {
            Hops::Attracting => self.await_routes(&all),
            Hops::Elected => self.elect(0),
            _ => Ok(()),
        }
    }

    /// Has this node attract all packets.
    ///
    /// # Errors
    /// If the router does not send them there.
    pub fn elect(&self, node: usize) -> Result<()> {
        match &self.announcer {
            Some(announcer) => announcer.elect(&self.lab.edges[node]),
            None => self.spread(&[node])?,
        }
        self.await_routes(&[node])
    }

    fn await_routes(&self, nodes: &[usize]) -> Result<()> {
        let expected: BTreeSet<IpAddr> =
            nodes.iter().map(|&node| self.lab.edges[node].link.host.v4.into()).collect();
        eventually("the router's next hops", SOON, || {
            let found = next_hops(&self.lab.router, (VIPS_V4.0.into(), VIPS_V4.1))?;
            ensure!(found.iter().copied().collect::<BTreeSet<_>>() == expected, "{found:?}");
            Ok(())
        })
    }

    /// Puts another machine in a node's place.
    ///
    /// # Errors
    /// Those of the lab.
    pub fn replace_machine(&mut self, node: usize) -> Result<()> {
        self.lab.replace_machine(node)?;
        self.let_the_router_see_links()
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

    /// Makes all nodes but these members, and waits until new flows open by it at all nodes, or nodes say that it waits:
    /// whether any does.
    ///
    /// # Errors
    /// If one does not in time.
    pub fn set_members(&mut self, out: &[usize]) -> Result<bool> {
        self.write_members(out)?;
        if self.mode == Mode::RandomEcmp {
            return Ok(false);
        }
        let mut waits = false;
        let is_in = |(index, node): (usize, &Node)| (!out.contains(&index)).then(|| node.name.clone());
        let expected: BTreeSet<String> = self.lab.edges.iter().enumerate().filter_map(is_in).collect();
        for node in &self.lab.edges {
            eventually("the change of members", SOON, || {
                let now: BTreeSet<String> =
                    members(&node.watched())?.into_iter().map(|member| member.name).collect();
                let is_queued = queued(&node.watched())?;
                ensure!(now == expected || is_queued, "{} goes by {now:?}", node.name);
                waits |= is_queued;
                Ok(())
            })?;
        }
        self.note_openers()?;
        Ok(waits)
    }

    /// Agents that have ended and were not told to, each with how.
    ///
    /// # Errors
    /// Those of `waitpid`.
    pub fn unasked_ends(&mut self) -> Result<Vec<String>> {
        let mut ends = Vec::new();
        for node in &mut self.lab.edges {
            if let Some(agent) = node.agent()
                && let Some(status) = agent.ended()?
            {
                ends.push(format!("the agent of {} ended by itself: {status}", node.name));
            }
        }
        Ok(ends)
    }

    fn write_members(&self, out: &[usize]) -> Result<()> {
        let out: Vec<&str> = out.iter().map(|&node| self.lab.edges[node].name.as_str()).collect();
        self.lab.write_nodes(&out).map(drop)
    }
}

impl Scene for Stage {
    fn client(&self) -> &Namespace {
        &self.lab.client
    }

    fn router(&self) -> &Namespace {
        &self.lab.router
    }

    fn watched(&self) -> Vec<Watched> {
        self.lab.edges.iter().map(Node::watched).collect()
    }

    fn key(&self) -> Option<FlowKey> {
        (self.mode != Mode::RandomEcmp).then_some(self.key)
    }

    fn record(&mut self) -> &mut Record {
        &mut self.record
    }
}

impl Node {
    fn watched(&self) -> Watched {
        let agent = Agent::Socket(self.admin_socket());
        Watched { name: self.name.clone(), namespace: self.namespace.clone(), agent }
    }
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
    /// When they did, if that was later.
    pub died: Option<Instant>,
    /// Nodes whose agent was replaced, stopped or stalled.
    pub touched: Vec<usize>,
    /// When a drain's deadline was over, of each node that drained.
    pub deadlines: Vec<(usize, Instant)>,
    /// Share of the new connections that may fail.
    pub may_fail: f64,
    /// What is worth to be said.
    pub notes: Vec<String>,
}

impl Played {
    /// An event that begins now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            began: Instant::now(),
            dead: Vec::new(),
            died: None,
            touched: Vec::new(),
            deadlines: Vec::new(),
            may_fail: 0.0,
            notes: Vec::new(),
        }
    }
}
